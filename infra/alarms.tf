# What the jobs say in their log that somebody has to look into. The words are those of api_service/logs.py,
# and a test holds them together.
locals {
  alarms = {
    day_unsound = {
      event    = "day unsound"
      severity = "CRITICAL"
      means    = <<-EOT
        The nightly check found an account's books of a day wrong: events, rollups or a budget's total disagree,
        or a call that was admitted is neither settled nor lost. The line names account, day and figures; so does
        `GET /v1/conservation`. The day is checked again every day until it is right.
      EOT
    }
    job_failed = {
      event    = "job failed"
      severity = "ERROR"
      means    = <<-EOT
        A background job came to nothing, or not to its end. The next run goes on where it stopped. Once, it was
        most likely the store that did not answer; again and again, the line's `kind` and `where` say more.
      EOT
    }
    figures_alarming = {
      event    = "job done"
      severity = "ERROR"
      means    = <<-EOT
        A background job has done its work and met what it could not put right: lines of the journal that do not
        parse or are too old, documents that are not as they were written. The line's figures say what.
      EOT
    }
  }
}

resource "google_logging_metric" "alarm" {
  for_each = local.alarms

  name        = "modeltrack/${each.key}"
  description = "Lines of level error that say: ${each.value.event}"
  filter      = "resource.type=\"cloud_run_revision\" AND jsonPayload.level=\"error\" AND jsonPayload.event=\"${each.value.event}\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}

resource "google_monitoring_alert_policy" "alarm" {
  for_each = local.alarms

  display_name          = "ModelTrack: ${each.value.event}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

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
