variable "api_threads" {
  description = "Requests that an instance of the API serves at the same time."
  type        = number
}

variable "database" {
  description = "Name of the Firestore database."
  type        = string
}

variable "github_client_id" {
  description = "The OAuth app that GitHub knows this deployment by; empty: none."
  type        = string
}

variable "google_client_id" {
  description = "The client that Google knows this deployment by; empty: none."
  type        = string
}

variable "is_behind_load_balancer" {
  description = "Whether every request comes by way of the load balancer."
  type        = bool
  default     = false
}

variable "jobs" {
  description = "The jobs that are run as functions."
  type        = set(string)
}

variable "journal_aside_topic" {
  description = "Id of the topic that recovery puts bad lines on."
  type        = string
}

variable "journal_subscription" {
  description = "Id of the subscription that recovery pulls."
  type        = string
}

variable "metrics_port" {
  description = "Loopback port that the collector beside a service reads its metrics from; 0: none is opened."
  type        = number
}

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "security_contact" {
  description = "Where weaknesses are reported to."
  type        = string
}

variable "smtp" {
  description = "The mail server, who logs in to it, and from whom mail is."
  type = object({
    host     = string
    port     = number
    security = string
    user     = string
    from     = string
  })
}

variable "urls" {
  description = "Addresses of `proxy` and `api`, without a slash at the end."
  type        = object({ proxy = string, api = string })
}
