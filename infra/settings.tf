# What services and jobs are told, and which of it is secret.
module "settings" {
  source = "./modules/settings"

  project              = var.project
  database             = var.database
  urls                 = module.names.urls
  jobs                 = keys(module.names.jobs)
  api_threads          = var.api_concurrency
  security_contact     = var.security_contact
  google_client_id     = var.google_client_id
  github_client_id     = var.github_client_id
  journal_subscription = google_pubsub_subscription.journal.id
  journal_aside_topic  = google_pubsub_topic.journal_aside.id
  metrics_port         = local.has_metrics ? local.metrics_port : 0

  is_behind_load_balancer = local.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"

  smtp = {
    host     = var.smtp_host
    port     = var.smtp_port
    security = var.smtp_security
    user     = var.smtp_user
    from     = var.mail_from
  }
}

locals {
  ingress = (
    local.is_private ? "INGRESS_TRAFFIC_INTERNAL_ONLY" :
    var.domain == "" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  )
}
