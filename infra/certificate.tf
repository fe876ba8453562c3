# Made and renewed by Google, once the hosts' DNS records point at the addresses in load_balancer.tf; until then the
# load balancer answers no https.
resource "google_compute_managed_ssl_certificate" "edge" {
  count = local.has_load_balancer ? 1 : 0

  # Hosts of a certificate cannot be changed: another domain needs another one, beside the old.
  name = "modeltrack-${substr(sha256(var.domain), 0, 8)}"

  managed {
    domains = values(module.names.hosts)
  }

  lifecycle {
    create_before_destroy = true
  }
}

# TLS 1.2 and 1.3, ciphers with forward secrecy and authenticated encryption only
# (https://cloud.google.com/load-balancing/docs/ssl-policies-concepts, read 2026-11-21).
resource "google_compute_ssl_policy" "edge" {
  count = local.has_load_balancer ? 1 : 0

  name            = "modeltrack"
  profile         = "RESTRICTED"
  min_tls_version = "TLS_1_2"
}
