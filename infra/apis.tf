# Google's APIs that are used. Two of them Terraform itself needs before it can switch anything on, so
# docs/operations/first-deploy.md does that by hand: cloudresourcemanager and serviceusage.
locals {
  apis = concat(
    [
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "cloudscheduler.googleapis.com",
      "containerscanning.googleapis.com",
      "firebaserules.googleapis.com",
      "firestore.googleapis.com",
      "iam.googleapis.com",
      "iamcredentials.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "ondemandscanning.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "serviceusage.googleapis.com",
      "storage.googleapis.com",
    ],
    var.domain == "" && var.network == "" ? [] : ["compute.googleapis.com"],
    var.kms_key == "" && var.kms_key_database == "" ? [] : ["cloudkms.googleapis.com"],
    var.billing_account == "" ? [] : ["billingbudgets.googleapis.com"],
    var.github_repository == "" ? [] : ["sts.googleapis.com"],
  )
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project = var.project
  service = each.value

  # Something else in the project may use it, too.
  disable_on_destroy = false
}
