# The jobs: the API's image once more, each with an entry point of its own, invoked by the scheduler alone.
module "function" {
  source   = "./modules/service"
  for_each = local.has_services ? module.names.jobs : {}

  name                = module.names.functions[each.key]
  description         = "Runs the job ${each.key} when it is sent a POST."
  project             = var.project
  region              = var.region
  labels              = merge(module.names.labels, { job = each.key })
  image               = var.api_image
  command             = ["python", "-m", "functions_framework"]
  args                = ["--source", "api_service/functions/main.py", "--target", each.key]
  service_account     = google_service_account.account["functions"].email
  deletion_protection = module.names.is_production
  kms_key             = var.kms_key

  # The scheduler of the same project counts as internal: https://cloud.google.com/run/docs/securing/ingress,
  # read 2026-11-21.
  invoker        = google_service_account.account["scheduler"].member
  ingress        = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  network        = var.network
  subnetwork     = var.subnetwork
  network_egress = var.network_egress

  # One instance, which answers 409 while a run is under way.
  concurrency     = 4
  instances_max   = 1
  timeout_seconds = each.value.timeout_seconds
  memory          = "1Gi"

  environment = module.settings.job_environment[each.key]
  secrets     = { for setting, secret in module.settings.job_secrets[each.key] : setting => local.secret[secret] }

  depends_on = [google_project_iam_member.database, google_secret_manager_secret_iam_member.reader]
}
