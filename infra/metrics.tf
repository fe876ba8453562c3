# Who reads `/metrics`: a collector of Google's beside each service asks it on loopback, where no key is needed and
# nobody else comes (`METRICS_PORT`), and writes to Managed Service for Prometheus, where alerts and the dashboard
# read. What it asks and how often is a file, which Cloud Run mounts from a secret; it holds nothing secret.
# https://docs.cloud.google.com/stackdriver/docs/managed-prometheus/cloudrun-sidecar and
# https://github.com/GoogleCloudPlatform/run-gmp-sidecar (RunMonitoring), both read 2026-11-21.
locals {
  has_metrics  = var.metrics_sidecar_image != ""
  metrics_port = 9464

  metrics_sidecars = local.has_metrics ? {
    collector = {
      image  = var.metrics_sidecar_image
      cpu    = "0.25"
      memory = "256Mi"
      files = {
        "/etc/rungmp" = {
          secret  = google_secret_manager_secret.metrics[0].secret_id
          version = google_secret_manager_secret_version.metrics[0].version
          file    = "config.yaml"
        }
      }
    }
  } : {}
}

resource "google_secret_manager_secret" "metrics" {
  count = local.has_metrics ? 1 : 0

  secret_id = "modeltrack-metrics"

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == "" ? [] : [var.kms_key]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.service]
}

resource "google_secret_manager_secret_version" "metrics" {
  count = local.has_metrics ? 1 : 0

  secret      = google_secret_manager_secret.metrics[0].id
  secret_data = templatefile("${path.module}/metrics.yaml.tftpl", { port = local.metrics_port })
}

resource "google_secret_manager_secret_iam_member" "metrics" {
  for_each = local.has_metrics ? toset(["proxy", "api"]) : toset([])

  secret_id = google_secret_manager_secret.metrics[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.account[each.value].member
}
