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
  memory          = "1Gi"

  # Mail, and what is found out about a request after its answer, is written then.
  has_cpu_between_requests = true

  environment = merge(local.settings, local.mail_settings, {
    API_THREADS      = tostring(var.api_concurrency)
    PROXY_PUBLIC_URL = module.names.urls.proxy
    PUBLIC_URL       = module.names.urls.api
    SECURITY_CONTACT = var.security_contact
    GOOGLE_CLIENT_ID = var.google_client_id
    GITHUB_CLIENT_ID = var.github_client_id
  })
  secrets = merge(
    { MODELTRACK_SECRET = local.secret.secret },
    { for name, secret in { SMTP_PASSWORD = "smtp_password" } : name => local.secret[secret] if var.smtp_user != "" },
    { for name, secret in { GOOGLE_CLIENT_SECRET = "google_client_secret" } : name => local.secret[secret] if var.google_client_id != "" },
    { for name, secret in { GITHUB_CLIENT_SECRET = "github_client_secret" } : name => local.secret[secret] if var.github_client_id != "" },
  )

  depends_on = [google_project_iam_member.database, google_secret_manager_secret_iam_member.reader]
}
