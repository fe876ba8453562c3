# Where the images of both services are kept. They are pulled by digest; a tag names a release and is never moved.
resource "google_artifact_registry_repository" "images" {
  repository_id = module.names.repository
  location      = var.region
  format        = "DOCKER"
  description   = "The images of ModelTrack's services."
  kms_key_name  = var.kms_key == "" ? null : var.kms_key

  docker_config {
    immutable_tags = true
  }

  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }

  # The last releases stay, so that there is something to go back to; older ones go after three months.
  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "keep-last"
    action = "KEEP"

    most_recent_versions {
      keep_count = 20
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "7776000s" # 90 days
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.service]
}

resource "google_artifact_registry_repository_iam_member" "deploy" {
  repository = google_artifact_registry_repository.images.repository_id
  location   = google_artifact_registry_repository.images.location
  project    = var.project
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.account["deploy"].member
}
