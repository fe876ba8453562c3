# The indexes, exemptions and TTL fields come from the file that the tests hold against the code.
locals {
  firestore = jsondecode(file("${path.module}/../firestore.indexes.json"))

  field_overrides = {
    for override in local.firestore.fieldOverrides :
    "${override.collectionGroup}.${override.fieldPath}" => override
  }
}

resource "google_firestore_database" "events" {
  name                              = var.database
  location_id                       = var.location
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "PESSIMISTIC"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  deletion_policy                   = "ABANDON"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
}

resource "google_firestore_field" "override" {
  for_each = local.field_overrides

  database   = google_firestore_database.events.name
  collection = each.value.collectionGroup
  field      = each.value.fieldPath

  # An empty block exempts the field from every index.
  index_config {
    dynamic "indexes" {
      for_each = each.value.indexes
      content {
        order        = try(indexes.value.order, null)
        array_config = try(indexes.value.arrayConfig, null)
        query_scope  = try(indexes.value.queryScope, "COLLECTION")
      }
    }
  }

  dynamic "ttl_config" {
    for_each = try(each.value.ttl, false) ? [1] : []
    content {}
  }
}
