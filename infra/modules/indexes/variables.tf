variable "document" {
  description = "What firestore.indexes.json holds, as text."
  type        = string
}
