output "account_emails" {
  description = "Their addresses."
  value = {
    for who, id in local.accounts : who => "${id}@${var.project}.iam.gserviceaccount.com"
  }
}

output "accounts" {
  description = "Ids of the service accounts, by who acts under them."
  value       = local.accounts
}

output "builds_bucket" {
  description = "Name of the bucket that sources are put into for a build."
  value       = "${var.project}-modeltrack-builds"
}

output "functions" {
  description = "Names of the Cloud Run services that run jobs, by job."
  value       = local.functions
}

output "hosts" {
  description = "Host names by which callers and browsers reach `proxy` and `api`."
  value       = local.hosts
}

output "images" {
  description = "Where the images `proxy` and `api` are kept, without digest."
  value = {
    for image in ["proxy", "api"] : image => "${var.region}-docker.pkg.dev/${var.project}/modeltrack/${image}"
  }
}

output "is_production" {
  description = "Whether losing something here hurts somebody."
  value       = var.environment == "production"
}

output "jobs" {
  description = "Schedule and longest run of each job."
  value       = local.jobs
}

output "journal" {
  description = "The journal's names: sink, topic, subscription and log bucket share one."
  value = {
    name  = "modeltrack-journal"
    aside = "modeltrack-journal-aside"
  }
}

output "labels" {
  description = "What every resource is labelled with."
  value       = { app = "modeltrack", environment = var.environment }
}

output "log_filters" {
  description = "Which log entries are lines of the `journal`, and which are request logs that hold `ingress_addresses`."
  value       = local.log_filters
}

output "repository" {
  description = "Name of the repository of images."
  value       = "modeltrack"
}

output "secrets" {
  description = "Names of the secrets, by what they are."
  value       = local.secrets
}

output "services" {
  description = "Names of the two Cloud Run services."
  value       = local.services
}

output "urls" {
  description = "Addresses of `proxy` and `api`, as settings want them: no slash at the end."
  value       = { for service, host in local.hosts : service => "https://${host}" }
}
