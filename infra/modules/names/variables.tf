variable "domain" {
  description = "The domain that both services have a host of; empty: the addresses that Cloud Run gives."
  type        = string
}

variable "environment" {
  description = "`staging` or `production`."
  type        = string
}

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "project_number" {
  description = "Number of the project, which is part of the addresses that Cloud Run gives."
  type        = string
}

variable "region" {
  description = "Region of the services."
  type        = string
}
