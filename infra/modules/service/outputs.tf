output "name" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.this.name
}

output "uri" {
  description = "Its address at Cloud Run, by which it is invoked and which tokens for it name as their audience."
  value       = google_cloud_run_v2_service.this.uri
}
