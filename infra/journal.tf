# The proxies' journal: what they write to standard output goes to a topic, from which the job `recover` pulls
# what a killed instance had not stored yet; and to a log bucket of its own, for a week. Nothing of it
# comes into the default log bucket, where it would stay longer than the erasure of an account promises.
locals {
  week = "604800s"
}

resource "google_pubsub_topic" "journal" {
  name         = module.names.journal.name
  kms_key_name = var.kms_key == "" ? null : var.kms_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.service]
}

# Pulled, not pushed: recovery decides when a line is old enough, and pulls nothing while the store is down.
# There is no dead-letter policy, since it counts deliveries: a line of a call that is still under way is
# delivered again and again for an hour. Recovery itself sets aside what is no line.
resource "google_pubsub_subscription" "journal" {
  name                         = module.names.journal.name
  topic                        = google_pubsub_topic.journal.id
  ack_deadline_seconds         = 600 # HIDDEN_SECONDS of metering/queued_recovery.py
  message_retention_duration   = local.week
  retain_acked_messages        = false
  enable_exactly_once_delivery = false
  enable_message_ordering      = false

  # Never, however long nobody pulls.
  expiration_policy {
    ttl = ""
  }
}

# Where recovery puts what is no line of a journal, or what the store does not take, for a person to look at.
resource "google_pubsub_topic" "journal_aside" {
  name         = module.names.journal.aside
  kms_key_name = var.kms_key == "" ? null : var.kms_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.service]
}

resource "google_pubsub_subscription" "journal_aside" {
  name                       = module.names.journal.aside
  topic                      = google_pubsub_topic.journal_aside.id
  ack_deadline_seconds       = 600
  message_retention_duration = local.week

  expiration_policy {
    ttl = ""
  }
}

resource "google_logging_project_sink" "journal" {
  name                   = module.names.journal.name
  description            = "The proxies' journal, for recovery."
  destination            = "pubsub.googleapis.com/${google_pubsub_topic.journal.id}"
  filter                 = module.names.log_filters.journal
  unique_writer_identity = true
}

resource "google_pubsub_topic_iam_member" "journal_sink" {
  topic  = google_pubsub_topic.journal.id
  role   = "roles/pubsub.publisher"
  member = google_logging_project_sink.journal.writer_identity
}

resource "google_pubsub_subscription_iam_member" "recovery_pulls" {
  subscription = google_pubsub_subscription.journal.id
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.account["functions"].member
}

resource "google_pubsub_topic_iam_member" "recovery_sets_aside" {
  topic  = google_pubsub_topic.journal_aside.id
  role   = "roles/pubsub.publisher"
  member = google_service_account.account["functions"].member
}

# For whoever has to find out what happened to a call. Lines name accounts, keys' ids and tags, and no more.
resource "google_logging_project_bucket_config" "journal" {
  project        = var.project
  location       = var.region
  bucket_id      = module.names.journal.name
  description    = "The proxies' journal."
  retention_days = 7

  dynamic "cmek_settings" {
    for_each = var.kms_key == "" ? [] : [var.kms_key]
    content {
      kms_key_name = cmek_settings.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.service]
}

# To a bucket of the same project a sink needs nobody's leave.
resource "google_logging_project_sink" "journal_kept" {
  name                   = "${module.names.journal.name}-kept"
  description            = "The proxies' journal, for a week."
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.journal.id}"
  filter                 = module.names.log_filters.journal
  unique_writer_identity = true
}

resource "google_logging_project_exclusion" "journal" {
  name        = module.names.journal.name
  description = "The proxies' journal has a bucket of its own."
  filter      = module.names.log_filters.journal
}
