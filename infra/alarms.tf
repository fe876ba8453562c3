# What services and jobs say in their logs that somebody has to look into. The words are those of api_service/logs.py and
# proxy_service/logs.py, and a test holds them together. The metrics are made with the first apply and the policies
# with the second, since Cloud Monitoring takes minutes to know a metric that a policy names.
locals {
  alarms = {
    day_unsound = {
      events   = ["day unsound"]
      level    = "error"
      severity = "CRITICAL"
      means    = <<-EOT
        The nightly check found an account's books of a day wrong: events, rollups or a budget's total disagree,
        or a call that was admitted is neither settled nor lost. The line names account, day and figures; so does
        `GET /v1/conservation`. The day is checked again every day until it is right.
      EOT
    }
    job_failed = {
      events   = ["job failed"]
      level    = "error"
      severity = "ERROR"
      means    = <<-EOT
        A background job came to nothing, or not to its end. The next run goes on where it stopped. Once, it was
        most likely the store that did not answer; again and again, the line's `kind` and `where` say more.
      EOT
    }
    figures_alarming = {
      events   = ["job done"]
      level    = "error"
      severity = "ERROR"
      means    = <<-EOT
        A background job has done its work and met what it could not put right: lines of the journal that do not
        parse or are too old, documents that are not as they were written. The line's figures say what.
      EOT
    }
    api_broken = {
      events   = ["broken"]
      level    = "error"
      severity = "ERROR"
      means    = <<-EOT
        The API met something that nobody foresaw. The line's `kind` and `where` name the fault and its place, never
        what was sent; `answered` lines of that second with a status from 500 name the route.
      EOT
    }
    events_at_risk = {
      events   = ["journal not written", "segment refused"]
      level    = "error"
      severity = "CRITICAL"
      means    = <<-EOT
        A proxy could not write its journal, or Firestore refused events for good, so that only the other of the two holds
        them. What `kind` names is most likely a fault of ours: keep the log, and look at it before the week is over.
      EOT
    }
    proxy_fault = {
      events   = ["call failed", "connection failed", "lease not told", "metrics not told", "background work ended"]
      level    = "error"
      severity = "ERROR"
      means    = <<-EOT
        The proxy met something that nobody foresaw. One call or one connection was harmed; with `background work ended`
        the instance goes on without a part of itself and is best replaced by a new revision.
      EOT
    }
    store_silent = {
      events   = ["store gives no answer; calls go on"]
      level    = "warn"
      severity = "WARNING"
      means    = <<-EOT
        An instance of the proxy gets no answer from Firestore. Calls go on, and their events wait (`events_unstored`). It
        says `store answers again` when that is over.
      EOT
    }
  }
}

resource "google_logging_metric" "alarm" {
  for_each = local.alarms

  name        = "modeltrack/${each.key}"
  description = "Lines of level ${each.value.level} that say: ${join("; ", each.value.events)}"
  filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=~\"^modeltrack-\"",
    "jsonPayload.level=\"${each.value.level}\"",
    "jsonPayload.event=(${join(" OR ", [for event in each.value.events : "\"${event}\""])})",
  ])

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alarm" {
  for_each = local.has_services ? local.alarms : {}

  display_name          = "ModelTrack: ${join(" / ", each.value.events)}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = module.names.labels

  conditions {
    display_name = "a line of the log says so"

    condition_threshold {
      filter          = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.alarm[each.key].name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content   = each.value.means
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}
