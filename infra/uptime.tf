# Asked from outside, from three continents, every five minutes: names, certificates, load balancer and a process
# that answers. Where only the operator's network reaches the services, nobody outside can ask. Whoever is asked every
# five minutes keeps an instance (README.md says what that costs), so staging leaves it out.
locals {
  asked = local.has_services && !local.is_private && var.uptime_checks ? module.names.hosts : {}
}

resource "google_monitoring_uptime_check_config" "health" {
  for_each = local.asked

  display_name       = "ModelTrack: ${each.key}"
  period             = "300s"
  timeout            = "10s"
  checker_type       = "STATIC_IP_CHECKERS"
  selected_regions   = ["EUROPE", "USA", "ASIA_PACIFIC"]
  log_check_failures = true
  user_labels        = module.names.labels

  http_check {
    # The published path, where the load balancer hands it on.
    path           = local.has_load_balancer ? "/healthz" : "/health"
    port           = 443
    request_method = "GET"
    use_ssl        = true
    validate_ssl   = true

    accepted_response_status_codes {
      status_value = 200
    }
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project
      host       = each.value
    }
  }

  content_matchers {
    content = "\"ok\""
    matcher = "CONTAINS_STRING"
  }
}

resource "google_monitoring_alert_policy" "unreachable" {
  for_each = google_monitoring_uptime_check_config.health

  display_name          = "ModelTrack: ${module.names.hosts[each.key]} is unreachable"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = module.names.labels

  conditions {
    display_name = "two continents or more get no answer"

    condition_threshold {
      filter          = "resource.type=\"uptime_url\" AND metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id=\"${each.value.uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "0s"

      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    content   = <<-EOT
      Two continents or more got no good answer from ${module.names.hosts[each.key]} within ten seconds. `modeltrack doctor` says
      from here what is wrong: name, certificate, load balancer, or the service itself.
    EOT
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}

# Google renews its certificates a month before they end. Two weeks before, something keeps it from that.
resource "google_monitoring_alert_policy" "certificate" {
  for_each = google_monitoring_uptime_check_config.health

  display_name          = "ModelTrack: the certificate of ${module.names.hosts[each.key]} ends soon"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = module.names.labels

  conditions {
    display_name = "fewer than 14 days left"

    condition_threshold {
      filter          = "resource.type=\"uptime_url\" AND metric.type=\"monitoring.googleapis.com/uptime_check/time_until_ssl_cert_expires\" AND metric.labels.check_id=\"${each.value.uptime_check_id}\""
      comparison      = "COMPARISON_LT"
      threshold_value = 14 # days
      duration        = "600s"

      aggregations {
        alignment_period     = "1200s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_MIN"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    content   = <<-EOT
      The certificate of ${module.names.hosts[each.key]} has not been renewed. Most likely the DNS records point elsewhere, or a
      CAA record names another authority: `gcloud compute ssl-certificates list --global` says what Google waits for.
    EOT
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "604800s"
  }
}
