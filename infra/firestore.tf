# The database. Its indexes, exemptions and the fields by which documents end come from the file that the tests
# hold against the queries.
module "indexes" {
  source = "./modules/indexes"

  document = file("${path.module}/../firestore.indexes.json")
}

resource "google_firestore_database" "events" {
  name                              = var.database
  location_id                       = var.location
  type                              = "FIRESTORE_NATIVE"
  database_edition                  = "STANDARD"
  concurrency_mode                  = "PESSIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = module.names.is_production ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = module.names.is_production ? "ABANDON" : "DELETE"

  dynamic "cmek_config" {
    for_each = var.kms_key_database == "" ? [] : [var.kms_key_database]
    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.database]
}

resource "google_firestore_index" "queries" {
  for_each = module.indexes.indexes

  database    = google_firestore_database.events.name
  collection  = each.value.collection
  query_scope = each.value.query_scope

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path   = fields.value.path
      order        = fields.value.order
      array_config = fields.value.array_config
    }
  }
}

resource "google_firestore_field" "override" {
  for_each = module.indexes.fields

  database   = google_firestore_database.events.name
  collection = each.value.collection
  field      = each.value.path

  # An empty block exempts the field from every index.
  index_config {
    dynamic "indexes" {
      for_each = each.value.indexes
      content {
        order        = indexes.value.order
        array_config = indexes.value.array_config
        query_scope  = indexes.value.query_scope
      }
    }
  }

  dynamic "ttl_config" {
    for_each = each.value.expires ? [1] : []
    content {}
  }
}
