# Plain http is answered with the https address and nothing else. 301 and not 308, on purpose: clients send a POST
# that was moved by 301 as a GET, so an application that was set up with http:// fails at its first call. With 308 it
# would work, and send its keys in the clear each time.
resource "google_compute_url_map" "http" {
  count = local.has_load_balancer ? 1 : 0

  name = "modeltrack-http"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "http" {
  count = local.has_load_balancer ? 1 : 0

  name    = "modeltrack-http"
  url_map = google_compute_url_map.http[0].id
}

resource "google_compute_global_forwarding_rule" "http" {
  for_each = local.ip_versions

  name                  = "modeltrack-http-${lower(each.value)}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.edge[each.value].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.http[0].id
}
