# What accounts may do in the whole project; what they may do with one thing stands beside the thing.
locals {
  account_roles = {
    proxy     = ["roles/monitoring.metricWriter"]
    api       = ["roles/monitoring.metricWriter"]
    functions = []
    scheduler = []
    deploy = [
      "roles/cloudscheduler.jobRunner",
      "roles/logging.logWriter",
      "roles/monitoring.viewer",
      "roles/ondemandscanning.admin",
      "roles/run.developer",
    ]
  }

  account_grants = merge([
    for who, roles in local.account_roles : { for role in roles : "${who}-${role}" => { who = who, role = role } }
  ]...)
}

resource "google_project_iam_member" "account" {
  for_each = local.account_grants

  project = var.project
  role    = each.value.role
  member  = google_service_account.account[each.value.who].member
}

# In this database alone (https://firebase.google.com/docs/firestore/manage-databases, "Grant access to a
# database", read 2026-11-21). Below a database there are no rights: whose a document is, the services see to.
resource "google_project_iam_member" "database" {
  for_each = toset(["proxy", "api", "functions"])

  project = var.project
  role    = "roles/datastore.user"
  member  = google_service_account.account[each.value].member

  condition {
    title       = "modeltrack-database"
    description = "The database of ModelTrack alone."
    expression  = "resource.name == \"projects/${var.project}/databases/${var.database}\""
  }
}

# A release starts instances that act under these.
resource "google_service_account_iam_member" "deploy_acts_as" {
  for_each = toset(["proxy", "api", "functions"])

  service_account_id = google_service_account.account[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.account["deploy"].member
}
