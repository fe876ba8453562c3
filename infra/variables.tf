variable "database" {
  description = "Name of the Firestore database; `(default)` is the one that the free tier covers."
  type        = string
  default     = "(default)"
}

variable "location" {
  description = "Where Firestore keeps the data, for example `nam5`, `eur3` or a single region. Cannot be changed later."
  type        = string
}

variable "notification_channels" {
  description = "Names of the monitoring channels that alarms go to; none: they only show in the console."
  type        = list(string)
  default     = []
}

variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of everything that is not the database."
  type        = string
}
