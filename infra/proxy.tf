# The proxy: relays calls to providers. It keeps nothing, so any instance can end at any time.
module "proxy" {
  source = "./modules/service"
  count  = local.has_services ? 1 : 0

  name                = module.names.services.proxy
  description         = "Relays calls to LLM providers, meters them and holds budgets."
  project             = var.project
  region              = var.region
  labels              = module.names.labels
  image               = var.proxy_image
  service_account     = google_service_account.account["proxy"].email
  deletion_protection = module.names.is_production
  kms_key             = var.kms_key

  # Everybody may send requests; the proxy itself asks for a key.
  invoker        = "allUsers"
  ingress        = local.ingress
  network        = var.network
  subnetwork     = var.subnetwork
  network_egress = var.network_egress

  concurrency     = var.proxy_concurrency
  instances_min   = var.proxy_instances_min
  instances_max   = var.proxy_instances_max
  timeout_seconds = 3600
  health_path     = "/health"
  memory          = module.sizes.memory.proxy

  # What a call cost is committed up to two seconds after its answer.
  has_cpu_between_requests = true

  environment = module.settings.environment.proxy
  secrets     = { for setting, secret in module.settings.secrets.proxy : setting => local.secret[secret] }

  sidecars = local.metrics_sidecars

  depends_on = [
    google_project_iam_member.database,
    google_secret_manager_secret_iam_member.metrics,
    google_secret_manager_secret_iam_member.reader,
  ]
}
