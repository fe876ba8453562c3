variable "args" {
  description = "Arguments of the image's entry point; none: the image's own."
  type        = list(string)
  default     = []
}

variable "command" {
  description = "Entry point instead of the image's."
  type        = list(string)
  default     = []
}

variable "concurrency" {
  description = "Requests that an instance takes at once."
  type        = number
}

variable "cpu" {
  description = "Processors of the container; one or more is needed for more than one request at once."
  type        = string
  default     = "1"
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to destroy the service."
  type        = bool
}

variable "description" {
  description = "What the service does, in a sentence."
  type        = string
}

variable "environment" {
  description = "Settings that are no secrets: name and value, none empty."
  type        = map(string)
}

variable "has_cpu_between_requests" {
  description = "Whether an instance goes on working while no request is under way (billed by instance, not by request)."
  type        = bool
  default     = false
}

variable "health_path" {
  description = "Path that answers 200 while the process lives; empty: an open port is enough to have started, and nobody asks later."
  type        = string
  default     = ""
}

variable "image" {
  description = "The image by digest."
  type        = string
}

variable "ingress" {
  description = "From where requests come: `INGRESS_TRAFFIC_ALL`, `INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER` or `INGRESS_TRAFFIC_INTERNAL_ONLY`."
  type        = string

  validation {
    condition = contains(
      ["INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "INGRESS_TRAFFIC_INTERNAL_ONLY"],
      var.ingress,
    )
    error_message = "Give one of the three that Cloud Run knows."
  }
}

variable "instances_max" {
  description = "Instances at most, of a revision."
  type        = number
}

variable "instances_min" {
  description = "Instances that are kept while nothing is asked, of the whole service."
  type        = number
  default     = 0
}

variable "invoker" {
  description = "Who may send requests, as an IAM member."
  type        = string
}

variable "kms_key" {
  description = "Key that the revision's image is encrypted under; empty: Google's own."
  type        = string
  default     = ""
}

variable "labels" {
  description = "Labels of the service and of its revisions, whose costs are told apart by them."
  type        = map(string)
}

variable "memory" {
  description = "Memory of the container; the second generation starts at 512Mi."
  type        = string
  default     = "512Mi"
}

variable "name" {
  description = "Name of the service."
  type        = string
}

variable "network" {
  description = "VPC network that calls go out by; empty: none."
  type        = string
  default     = ""
}

variable "network_egress" {
  description = "What goes out by the network."
  type        = string
  default     = "PRIVATE_RANGES_ONLY"
}

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "secrets" {
  description = "Settings that are secrets: name of the setting, name and version of the secret."
  type        = map(object({ secret = string, version = string }))
  default     = {}
}

variable "service_account" {
  description = "E-mail address of the account that the service acts under."
  type        = string
}

variable "sidecars" {
  description = "Containers beside ours, by name; they start after it is up. `files`: secrets as files, directory → secret, version and file name."
  type = map(object({
    image       = string
    args        = optional(list(string), [])
    environment = optional(map(string), {})
    cpu         = optional(string, "0.5")
    memory      = optional(string, "256Mi")
    files       = optional(map(object({ secret = string, version = string, file = string })), {})
  }))
  default = {}
}

variable "subnetwork" {
  description = "Subnetwork of the network."
  type        = string
  default     = ""
}

variable "timeout_seconds" {
  description = "How long a request may take; an hour is as far as Cloud Run goes."
  type        = number

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 3600
    error_message = "Give 1 to 3600."
  }
}
