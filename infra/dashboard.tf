# One page for whoever is woken: what callers get, what the proxy does, whether events reach the store, what
# the platform has left. Its charts are in dashboard.json, in the form that Cloud Monitoring exports.
resource "google_monitoring_dashboard" "overview" {
  count = local.has_services ? 1 : 0

  dashboard_json = file("${path.module}/dashboard.json")

  depends_on = [google_project_service.api]
}
