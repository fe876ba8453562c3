# What port 80 answers. A person who types the address of a page is led to https. A program is not: led on, it would send
# its key readable with every request, and nobody would notice. It gets a 403 for its first one, and whoever set it up
# with http:// rotates the key. A 403 is had from the load balancer by a fault that is injected into every request
# (https://cloud.google.com/load-balancing/docs/https/setting-up-global-traffic-mgmt, read 2026-11-22): none of them
# reaches the service that has to be named with it.
#
# 301 and not 308, on purpose: what is no GET does not follow, should a page's address ever be a program's.
locals {
  # Of the API's host: what is no page.
  paths_of_programs = ["/v1", "/v1/*", "/metrics", "/candidate", "/candidate/*"]
}

resource "google_compute_url_map" "http" {
  count = local.has_load_balancer ? 1 : 0

  name = "modeltrack-http"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }

  host_rule {
    hosts        = [module.names.hosts["proxy"]]
    path_matcher = "proxy"
  }

  host_rule {
    hosts        = [module.names.hosts["api"]]
    path_matcher = "api"
  }

  path_matcher {
    name            = "proxy"
    default_service = google_compute_backend_service.service["proxy"].id

    default_route_action {
      fault_injection_policy {
        abort {
          http_status = 403
          percentage  = 100
        }
      }
    }
  }

  path_matcher {
    name = "api"

    default_url_redirect {
      https_redirect         = true
      redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
      strip_query            = false
    }

    path_rule {
      paths   = local.paths_of_programs
      service = google_compute_backend_service.service["api"].id

      route_action {
        fault_injection_policy {
          abort {
            http_status = 403
            percentage  = 100
          }
        }
      }
    }
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
