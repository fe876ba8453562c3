# Places for secrets. Their values are put there by hand (docs/operations/secrets.md) and never by Terraform, whose
# state would keep them:
#
#   openssl rand -hex 32 | tr -d '\n' | gcloud secrets versions add modeltrack-secret --data-file=-
#
# There is no rotation by the clock: a new MODELTRACK_SECRET voids every key, and the others are changed
# together with whoever gave them. Which version is in use says `secret_versions`.
locals {
  # As modules/service wants them.
  secret = {
    for secret, its in google_secret_manager_secret.secret : secret => {
      secret  = its.secret_id
      version = lookup(var.secret_versions, its.secret_id, "1")
    }
  }

  # Who reads which, and nobody else does. With the key of an account of one's own a release makes a call through
  # the new proxy before anybody else's comes to it.
  secret_readers = merge(module.settings.secret_readers, { canary_key = ["deploy"] })

  secrets_read = merge([
    for secret, readers in local.secret_readers : {
      for reader in readers : "${secret}-${reader}" => { secret = secret, reader = reader }
    }
  ]...)
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secret_readers

  secret_id           = module.names.secrets[each.key]
  deletion_protection = module.names.is_production

  # A version that is destroyed can be had back for a week.
  version_destroy_ttl = "604800s"

  # In the services' region, which a key of one's own has to be in, too.
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

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secrets_read

  secret_id = google_secret_manager_secret.secret[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.account[each.value.reader].member
}
