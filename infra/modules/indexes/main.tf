# From firestore.indexes.json, which the tests hold against the queries, to what Terraform makes of it: maps
# whose keys say what an entry is, so that a new one moves no other. No resource and no provider.
locals {
  given = jsondecode(var.document)

  indexes = {
    for index in local.given.indexes :
    join(".", concat(
      [index.collectionGroup],
      index.queryScope == "COLLECTION" ? [] : [lower(index.queryScope)],
      [for field in index.fields : "${field.fieldPath}-${lower(try(field.order, field.arrayConfig))}"],
      )) => {
      collection  = index.collectionGroup
      query_scope = index.queryScope
      fields = [
        for field in index.fields : {
          path         = field.fieldPath
          order        = try(field.order, null)
          array_config = try(field.arrayConfig, null)
        }
      ]
    }
  }

  fields = {
    for override in local.given.fieldOverrides :
    "${override.collectionGroup}.${override.fieldPath}" => {
      collection = override.collectionGroup
      path       = override.fieldPath
      expires    = try(override.ttl, false)
      indexes = [
        for index in override.indexes : {
          order        = try(index.order, null)
          array_config = try(index.arrayConfig, null)
          query_scope  = try(index.queryScope, "COLLECTION")
        }
      ]
    }
  }
}
