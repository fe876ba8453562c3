# With a key of one's own: Google's services may use it, each for what it keeps. They do so under accounts of
# theirs, which exist once their API was used; docs/operations/first-deploy.md makes those that do not come by
# themselves. Addresses: documentation of the provider 6.50 (artifact_registry_repository, firestore_database,
# pubsub_topic, secret_manager_secret, cloud_run_v2_service), read 2026-11-21.
locals {
  agents = {
    registry = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    pubsub   = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    run      = "serviceAccount:service-${data.google_project.this.number}@serverless-robot-prod.iam.gserviceaccount.com"
    secrets  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
  }

  key_users = var.kms_key == "" ? {} : merge(local.agents, {
    storage = data.google_storage_project_service_account.this[0].member
    logging = "serviceAccount:${data.google_logging_project_cmek_settings.this[0].service_account_id}"
  })
}

data "google_logging_project_cmek_settings" "this" {
  count = var.kms_key == "" ? 0 : 1

  project = var.project
}

data "google_storage_project_service_account" "this" {
  count = var.kms_key == "" ? 0 : 1
}

resource "google_kms_crypto_key_iam_member" "service" {
  for_each = local.key_users

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
}

resource "google_kms_crypto_key_iam_member" "database" {
  count = var.kms_key_database == "" ? 0 : 1

  crypto_key_id = var.kms_key_database
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-firestore.iam.gserviceaccount.com"
}
