# What accounts may do in the whole project; what they may do with one thing stands beside the thing.
# Firestore knows no rights below a database: what of it belongs to whom is the services' own business.
locals {
  account_roles = {
    proxy     = ["roles/datastore.user", "roles/monitoring.metricWriter"]
    api       = ["roles/datastore.user", "roles/monitoring.metricWriter"]
    functions = ["roles/datastore.user"]
    scheduler = []
    deploy = [
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

# A release starts instances that act under these.
resource "google_service_account_iam_member" "deploy_acts_as" {
  for_each = toset(["proxy", "api", "functions"])

  service_account_id = google_service_account.account[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.account["deploy"].member
}
