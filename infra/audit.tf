# Who looked at what. Changes of resources Google logs by itself. Here, besides: who opened a secret, and who
# read or wrote the database without being one of the services, whose own traffic would be most of it.
locals {
  # https://cloud.google.com/firestore/docs/audit-logging, read 2026-11-21: under this name for both of its APIs.
  firestore_audited = "datastore.googleapis.com"

  services_members = [
    for who in ["proxy", "api", "functions"] : google_service_account.account[who].member
  ]
}

resource "google_project_iam_audit_config" "database" {
  project = var.project
  service = local.firestore_audited

  audit_log_config {
    log_type = "ADMIN_READ"
  }

  audit_log_config {
    log_type         = "DATA_READ"
    exempted_members = local.services_members
  }

  audit_log_config {
    log_type         = "DATA_WRITE"
    exempted_members = local.services_members
  }
}

resource "google_project_iam_audit_config" "access" {
  for_each = toset(["iam.googleapis.com", "secretmanager.googleapis.com"])

  project = var.project
  service = each.value

  audit_log_config {
    log_type = "ADMIN_READ"
  }

  audit_log_config {
    log_type = "DATA_READ"
  }

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
