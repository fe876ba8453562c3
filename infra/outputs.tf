output "addresses" {
  description = "What the DNS records of both hosts point at: A records at IPV4, AAAA records at IPV6. Empty without a domain."
  value       = { for version, address in google_compute_global_address.edge : version => address.address }
}

output "api_url" {
  description = "Where browsers and scripts reach the API."
  value       = module.names.urls.api
}

output "builds_bucket" {
  description = "Where sources are put for a build."
  value       = "gs://${google_storage_bucket.builds.name}/source"
}

output "database" {
  description = "Address of the store, as STORE_URL."
  value       = module.settings.environment.proxy.STORE_URL
}

output "github_provider" {
  description = "What a workflow of `github_repository` names as its identity provider; empty without one."
  value       = local.has_federation ? google_iam_workload_identity_pool_provider.github[0].name : ""
}

output "images" {
  description = "Where images are pushed to."
  value       = module.names.images
}

output "proxy_url" {
  description = "What callers give their SDK as base URL."
  value       = module.names.urls.proxy
}

output "secrets" {
  description = "Secrets that want a value before services start, with the version that is used."
  value       = { for secret in values(local.secret) : secret.secret => secret.version }
}

output "service_accounts" {
  description = "Who acts under which account."
  value       = module.names.account_emails
}
