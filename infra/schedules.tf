# When the jobs run. A run that fails is not repeated: the next follows soon enough, and every job goes on where
# the last one stopped. `check`, which comes once a day, is tried again.
resource "google_cloud_scheduler_job" "job" {
  for_each = local.has_services ? module.names.jobs : {}

  name             = module.names.functions[each.key]
  description      = "Runs the job ${each.key}."
  region           = var.region
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${each.value.timeout_seconds}s"

  retry_config {
    retry_count          = each.key == "check" ? 3 : 0
    min_backoff_duration = "300s"
    max_backoff_duration = "1800s"
  }

  http_target {
    http_method = "POST"
    uri         = module.function[each.key].uri

    oidc_token {
      service_account_email = google_service_account.account["scheduler"].email
      audience              = module.function[each.key].uri
    }
  }
}
