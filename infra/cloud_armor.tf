# Limits how often one address may ask. Nothing here looks into bodies: rules made for web forms find "attacks" in
# prompts, which hold SQL, shell and code for good reason, and would break calls; and what they find they may log.
# `json_parsing` and `log_level` are stated for that: the first reads bodies, the second quotes what rules matched.
# Who logs in and how often, each service bounds itself; this bounds what reaches it.
locals {
  requests_per_minute_by_address = {
    proxy = var.proxy_requests_per_minute
    api   = var.api_requests_per_minute
  }
}

resource "google_compute_security_policy" "edge" {
  # checkov:skip=CKV_GCP_73: the rule against Log4Shell reads headers and bodies of prompts, and nothing here runs Java
  for_each = local.balanced

  name        = each.value
  description = "How often one address may ask ${each.value}"
  type        = "CLOUD_ARMOR"

  advanced_options_config {
    json_parsing = "DISABLED"
    log_level    = "NORMAL"
  }

  # The proxy's addresses may hold ingress ids, which a signature of an attack would repeat.
  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable = each.key != "proxy"
    }
  }

  rule {
    description = "too many requests of one address"
    priority    = 1000
    action      = "throttle"
    preview     = var.armor_preview

    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"

      rate_limit_threshold {
        count        = local.requests_per_minute_by_address[each.key]
        interval_sec = 60
      }
    }
  }

  rule {
    description = "everybody else"
    priority    = 2147483647
    action      = "allow"

    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}
