output "fields" {
  description = "Fields that are not indexed as Firestore would by itself, by collection and path; none of `indexes`: by none. `expires`: a document ends at that moment."
  value       = local.fields
}

output "indexes" {
  description = "Indexes over several fields, by collection and fields."
  value       = local.indexes
}
