variables {
  document = <<-EOT
    {
      "indexes": [
        {
          "collectionGroup": "segments",
          "queryScope": "COLLECTION",
          "fields": [
            {"fieldPath": "session_ids", "arrayConfig": "CONTAINS"},
            {"fieldPath": "last_at", "order": "DESCENDING"}
          ]
        },
        {
          "collectionGroup": "segments",
          "queryScope": "COLLECTION_GROUP",
          "fields": [
            {"fieldPath": "state", "order": "ASCENDING"},
            {"fieldPath": "last_at", "order": "ASCENDING"}
          ]
        }
      ],
      "fieldOverrides": [
        {"collectionGroup": "tokens", "fieldPath": "*", "indexes": []},
        {
          "collectionGroup": "tokens",
          "fieldPath": "expires_at",
          "ttl": true,
          "indexes": [
            {"order": "ASCENDING", "queryScope": "COLLECTION"},
            {"arrayConfig": "CONTAINS", "queryScope": "COLLECTION_GROUP"}
          ]
        },
        {"collectionGroup": "rates", "fieldPath": "ends_at", "ttl": true, "indexes": []}
      ]
    }
  EOT
}

run "an_index_is_named_by_what_it_is" {
  command = plan

  assert {
    condition = keys(output.indexes) == [
      "segments.collection_group.state-ascending.last_at-ascending",
      "segments.session_ids-contains.last_at-descending",
    ]
    error_message = "The keys of indexes do not say collection, scope, fields and directions."
  }
}

run "an_index_keeps_its_fields_in_order_each_with_a_direction_or_as_an_array" {
  command = plan

  assert {
    condition = output.indexes["segments.session_ids-contains.last_at-descending"].fields == [
      { path = "session_ids", order = null, array_config = "CONTAINS" },
      { path = "last_at", order = "DESCENDING", array_config = null },
    ]
    error_message = "An index's fields are not as the document has them."
  }
}

run "a_field_without_indexes_is_exempt" {
  command = plan

  assert {
    condition     = length(output.fields["tokens.*"].indexes) == 0 && !output.fields["tokens.*"].expires
    error_message = "The exemption of a whole collection is lost."
  }
}

run "a_field_may_be_indexed_and_end_its_document" {
  command = plan

  assert {
    condition     = output.fields["tokens.expires_at"].expires && output.fields["rates.ends_at"].expires
    error_message = "A field by which documents end is lost."
  }

  assert {
    condition = output.fields["tokens.expires_at"].indexes == [
      { order = "ASCENDING", array_config = null, query_scope = "COLLECTION" },
      { order = null, array_config = "CONTAINS", query_scope = "COLLECTION_GROUP" },
    ]
    error_message = "A field's indexes are not as the document has them."
  }
}

run "the_document_of_this_repository_is_read_whole" {
  command = plan

  variables {
    document = file("../../../firestore.indexes.json")
  }

  assert {
    condition     = length(output.indexes) == length(jsondecode(var.document).indexes)
    error_message = "Two indexes have the same key."
  }

  assert {
    condition     = length(output.fields) == length(jsondecode(var.document).fieldOverrides)
    error_message = "Two overrides have the same key."
  }
}
