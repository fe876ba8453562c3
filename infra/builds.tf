# Where sources are put for a build (`--gcs-source-staging-dir=…`): a bucket of ours, since the one that gcloud makes by
# itself is open to more than the account that builds.
resource "google_storage_bucket" "builds" {
  # checkov:skip=CKV_GCP_62:Who reads or writes sources stands in Cloud Build's own log; a bucket of access logs would hold the same once more.
  # checkov:skip=CKV_GCP_78:Nothing here is ever changed: each build brings a file of its own, and the repository has its history.
  name                        = module.names.builds_bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # what lies here can be made again

  # What is deleted is gone: it is a copy.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age = 30
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == "" ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.service]
}

resource "google_storage_bucket_iam_member" "deploy_reads" {
  bucket = google_storage_bucket.builds.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.account["deploy"].member
}

# A workflow of GitHub's, which acts as the account that builds (federation.tf), submits builds itself: it puts sources
# here, and starts a build under its own account.
resource "google_storage_bucket_iam_member" "workflow_writes" {
  count = local.has_federation ? 1 : 0

  bucket = google_storage_bucket.builds.name
  role   = "roles/storage.objectUser"
  member = google_service_account.account["deploy"].member
}

resource "google_project_iam_member" "workflow" {
  for_each = local.has_federation ? toset(["roles/cloudbuild.builds.editor", "roles/serviceusage.serviceUsageConsumer"]) : toset([])

  project = var.project
  role    = each.value
  member  = google_service_account.account["deploy"].member
}

resource "google_service_account_iam_member" "workflow_acts_as_itself" {
  count = local.has_federation ? 1 : 0

  service_account_id = google_service_account.account["deploy"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.account["deploy"].member
}
