# In front of both services where they have a domain of their own. Without one, Cloud Run's addresses serve, and
# nothing here is made. Serverless backends have no health checks, and no timeout of their own: a service's
# `timeout` (3600 s) is what ends a call, and `timeout_sec` is refused for them
# (https://cloud.google.com/load-balancing/docs/negs/serverless-neg-concepts, read 2026-11-21).
locals {
  has_load_balancer = local.has_services && var.domain != ""

  balanced = local.has_load_balancer ? module.names.services : {}

  ip_versions = local.has_load_balancer ? toset(["IPV4", "IPV6"]) : toset([])
}

# What DNS records point at: an A record for IPV4, an AAAA record for IPV6, for both hosts.
resource "google_compute_global_address" "edge" {
  for_each = local.ip_versions

  name       = "modeltrack-${lower(each.value)}"
  ip_version = each.value
}

resource "google_compute_region_network_endpoint_group" "service" {
  for_each = local.balanced

  name                  = each.value
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = each.value
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_backend_service" "service" {
  for_each = local.balanced

  name                  = each.value
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.edge[each.key].id

  # Answers pass as they are: nothing between the provider and the caller may encode, keep or replace them.
  compression_mode = "DISABLED"
  enable_cdn       = false
  session_affinity = "NONE"

  backend {
    group = google_compute_region_network_endpoint_group.service[each.key].id
  }

  # Lines name the address that was asked for. Those of `/ws/<ingress id>/…` are excluded from every log bucket
  # (logs.tf); no header and no body is ever among the fields.
  log_config {
    enable        = true
    sample_rate   = var.load_balancer_log_sample_rate
    optional_mode = "EXCLUDE_ALL_OPTIONAL"
  }
}

resource "google_compute_url_map" "edge" {
  count = local.has_load_balancer ? 1 : 0

  name = "modeltrack"

  # Whoever asks for another host, such as the bare address, is told where people go.
  default_url_redirect {
    host_redirect          = module.names.hosts["api"]
    path_redirect          = "/"
    https_redirect         = true
    redirect_response_code = "FOUND"
    strip_query            = true
  }

  dynamic "host_rule" {
    for_each = module.names.services
    content {
      hosts        = [module.names.hosts[host_rule.key]]
      path_matcher = host_rule.key
    }
  }

  dynamic "path_matcher" {
    for_each = module.names.services
    content {
      name            = path_matcher.key
      default_service = google_compute_backend_service.service[path_matcher.key].id

      # The published health address. Google's front end is reported to keep it from Cloud Run, so it is asked
      # under the other name that both services have for it.
      path_rule {
        paths   = ["/healthz"]
        service = google_compute_backend_service.service[path_matcher.key].id

        route_action {
          url_rewrite {
            path_prefix_rewrite = "/health"
          }
        }
      }

      # What a release tries (candidates.tf).
      path_rule {
        paths   = ["/candidate/*"]
        service = google_compute_backend_service.candidate[path_matcher.key].id

        route_action {
          url_rewrite {
            path_prefix_rewrite = "/"
          }
        }
      }
    }
  }

  test {
    description = "the published health address reaches the proxy"
    host        = module.names.hosts["proxy"]
    path        = "/healthz"
    service     = google_compute_backend_service.service["proxy"].id
  }

  test {
    description = "a release reaches the proxy that it tries"
    host        = module.names.hosts["proxy"]
    path        = "/candidate/v1/messages"
    service     = google_compute_backend_service.candidate["proxy"].id
  }

  test {
    description = "calls reach the proxy"
    host        = module.names.hosts["proxy"]
    path        = "/v1/messages"
    service     = google_compute_backend_service.service["proxy"].id
  }

  test {
    description = "everything else reaches the API and the dashboard"
    host        = module.names.hosts["api"]
    path        = "/v1/usage"
    service     = google_compute_backend_service.service["api"].id
  }
}

resource "google_compute_target_https_proxy" "edge" {
  count = local.has_load_balancer ? 1 : 0

  name             = "modeltrack"
  url_map          = google_compute_url_map.edge[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.edge[0].id]
  ssl_policy       = google_compute_ssl_policy.edge[0].id

  # A replayed first flight would be a call that is paid for twice.
  tls_early_data = "DISABLED"
}

resource "google_compute_global_forwarding_rule" "https" {
  for_each = local.ip_versions

  name                  = "modeltrack-https-${lower(each.value)}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.edge[each.value].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.edge[0].id
}
