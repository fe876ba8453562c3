# What a release tries before anybody's call comes to it (infra/release). With a domain the services take requests by the
# load balancer alone, so that a revision's own address, by which it is tried otherwise, is closed: then the new
# one is found under `/candidate/` of each host, as `_PROXY_ADDRESS` and `_API_ADDRESS` of cloudbuild.yaml say.
# It asks for keys and sessions as every other revision does. The rewriting of the path is that of
# https://cloud.google.com/load-balancing/docs/https/setting-up-url-rewrite, read 2026-11-21.
#
# The tag is that of infra/release/traffic.py. Before the first release, and after one that failed, there is none, and the
# path leads nowhere.
resource "google_compute_region_network_endpoint_group" "candidate" {
  for_each = local.balanced

  name                  = "${each.value}-candidate"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = each.value
    tag     = "candidate"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_backend_service" "candidate" {
  for_each = local.balanced

  name                  = "${each.value}-candidate"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.edge[each.key].id
  compression_mode      = "DISABLED"
  enable_cdn            = false
  session_affinity      = "NONE"

  backend {
    group = google_compute_region_network_endpoint_group.candidate[each.key].id
  }

  log_config {
    enable        = true
    sample_rate   = 1
    optional_mode = "EXCLUDE_ALL_OPTIONAL"
  }
}
