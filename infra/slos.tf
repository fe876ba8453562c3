# What is promised to those who call, over 28 days, and how fast the room for failing is being used up. A burn rate of 1
# uses it up in exactly 28 days: 14.4 for an hour uses 2 % of it, 3 for a day a tenth. Each alert asks a long window
# and a short one, so that it ends soon after the cause.
locals {
  availability_goal = 0.995
  latency_goal      = 0.99

  slos = merge(
    # Of the proxy what is seen from outside: its answers carry the providers' own failures, which are not ours.
    { for service, _ in local.asked : "${service}_reachable" => google_monitoring_slo.reachable[service].name },
    local.has_services ? {
      api_answers = google_monitoring_slo.api_answers[0].name
      api_latency = google_monitoring_slo.api_latency[0].name
    } : {},
    local.has_services && var.added_latency_slo ? { added_latency = google_monitoring_slo.added_latency[0].name } : {},
  )

  burn_rates = {
    fast = { severity = "CRITICAL", rate = 14.4, windows = ["3600s", "300s"] }
    slow = { severity = "WARNING", rate = 3, windows = ["86400s", "7200s"] }
  }

  burn_alerts = merge([
    for slo, name in local.slos : {
      for speed, its in local.burn_rates : "${slo}_${speed}" => merge(its, { slo = slo, name = name, speed = speed })
    }
  ]...)
}

resource "google_monitoring_custom_service" "service" {
  for_each = local.has_services ? module.names.services : {}

  service_id   = each.value
  display_name = each.value
  user_labels  = module.names.labels

  telemetry {
    resource_name = "//run.googleapis.com/projects/${var.project}/locations/${var.region}/services/${each.value}"
  }
}

# Five minutes in which somebody outside got an answer are good ones.
resource "google_monitoring_slo" "reachable" {
  for_each = local.asked

  service             = google_monitoring_custom_service.service[each.key].service_id
  slo_id              = "${each.key}-reachable"
  display_name        = "${each.key}: reachable in 99.5 % of five minutes"
  goal                = local.availability_goal
  rolling_period_days = 28
  user_labels         = module.names.labels

  windows_based_sli {
    window_period          = "300s"
    good_bad_metric_filter = "resource.type=\"uptime_url\" AND metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.health[each.key].uptime_check_id}\""
  }
}

resource "google_monitoring_slo" "api_answers" {
  count = local.has_services ? 1 : 0

  service             = google_monitoring_custom_service.service["api"].service_id
  slo_id              = "api-answers"
  display_name        = "API: 99.5 % of answers are no 5xx"
  goal                = local.availability_goal
  rolling_period_days = 28
  user_labels         = module.names.labels

  request_based_sli {
    good_total_ratio {
      total_service_filter = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${module.names.services.api}\" AND metric.type=\"run.googleapis.com/request_count\""
      bad_service_filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${module.names.services.api}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
    }
  }
}

resource "google_monitoring_slo" "api_latency" {
  count = local.has_services ? 1 : 0

  service             = google_monitoring_custom_service.service["api"].service_id
  slo_id              = "api-latency"
  display_name        = "API: 99 % of answers within two seconds"
  goal                = local.latency_goal
  rolling_period_days = 28
  user_labels         = module.names.labels

  request_based_sli {
    distribution_cut {
      distribution_filter = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${module.names.services.api}\" AND metric.type=\"run.googleapis.com/request_latencies\""

      range {
        max = 2000 # milliseconds
      }
    }
  }
}

# What the proxy adds to a call, whatever the provider takes. Its metric exists once a proxy has been scraped, so this
# one is switched on after the first calls (`added_latency_slo`).
resource "google_monitoring_slo" "added_latency" {
  count = local.has_services && var.added_latency_slo ? 1 : 0

  service             = google_monitoring_custom_service.service["proxy"].service_id
  slo_id              = "proxy-added-latency"
  display_name        = "proxy: adds at most 25 ms to 99 % of calls"
  goal                = local.latency_goal
  rolling_period_days = 28
  user_labels         = module.names.labels

  request_based_sli {
    distribution_cut {
      distribution_filter = "resource.type=\"prometheus_target\" AND metric.type=\"prometheus.googleapis.com/modeltrack_overhead_seconds/histogram\""

      range {
        max = 0.025 # seconds, one of the histogram's own bounds
      }
    }
  }
}

resource "google_monitoring_alert_policy" "burn" {
  for_each = local.burn_alerts

  display_name          = "ModelTrack: ${replace(each.value.slo, "_", " ")} burns its room for failing, ${each.value.speed}"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = module.names.labels

  dynamic "conditions" {
    for_each = each.value.windows
    iterator = window
    content {
      display_name = "${each.value.rate} times as fast as promised over ${window.value}"

      condition_threshold {
        filter          = "select_slo_burn_rate(\"${each.value.name}\", \"${window.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  documentation {
    content   = <<-EOT
      At this rate the promise `${each.value.slo}` is broken before its 28 days are over (infra/slos.tf). The dashboard shows since
      when; docs/operations/incidents.md where to look.
    EOT
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}
