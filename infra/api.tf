# The API and the dashboard.
module "api" {
  source = "./modules/service"
  count  = local.has_services ? 1 : 0

  name                = module.names.services.api
  description         = "REST API and dashboard: accounts, keys, budgets, statistics."
  project             = var.project
  region              = var.region
  labels              = module.names.labels
  image               = var.api_image
  service_account     = google_service_account.account["api"].email
  deletion_protection = module.names.is_production
  kms_key             = var.kms_key

  # Everybody may send requests; the API itself asks for a key or a session.
  invoker        = "allUsers"
  ingress        = local.ingress
  network        = var.network
  subnetwork     = var.subnetwork
  network_egress = var.network_egress

  concurrency     = var.api_concurrency
  instances_min   = var.api_instances_min
  instances_max   = var.api_instances_max
  timeout_seconds = 3600 # exports
  health_path     = "/health"
  memory          = module.sizes.memory.api

  # Mail, and what is found out about a request after its answer, is written then.
  has_cpu_between_requests = true

  environment = module.settings.environment.api
  secrets     = { for setting, secret in module.settings.secrets.api : setting => local.secret[secret] }

  sidecars = local.metrics_sidecars

  depends_on = [
    google_project_iam_member.database,
    google_secret_manager_secret_iam_member.metrics,
    google_secret_manager_secret_iam_member.reader,
  ]
}
