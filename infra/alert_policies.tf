# What somebody is woken for, or told of in the morning. Each names the state, not the cause, and says what to look at
# first; docs/operations/incidents.md goes on from there. What jobs and services say in their log is in alarms.tf,
# what is seen from outside in uptime.tf, what promises are about to be broken in slos.tf.
#
# Queries are PromQL over Google's metrics (`run_googleapis_com:…`) and over our own (`modeltrack_…`), which the sidecar
# in metrics.tf brings; tests/infra/test_alert_policies.py holds the latter against what the services expose. A policy
# may stand before its metric's first value: until then it finds nothing, which is no alarm.
locals {
  run = {
    for service, name in module.names.services :
    service => "monitored_resource=\"cloud_run_revision\",service_name=\"${name}\""
  }
  requests = { for service, labels in local.run : service => "run_googleapis_com:request_count{${labels}}" }
  failures = {
    for service, labels in local.run : service => "run_googleapis_com:request_count{${labels},response_code_class=\"5xx\"}"
  }
  instances_max = { proxy = var.proxy_instances_max, api = var.api_instances_max }

  # Minutes since its last good run after which a job is missed: some runs in a row, and less than what its doing
  # nothing would cost. A run under way answers others with 409, so only 2xx counts.
  job_minutes_max = {
    recover = 30 # a run may take 10
    reap    = 30
    seed    = 60
    compact = 60
    retain  = 240
    erase   = 120
    check   = 1560 # 26 hours
    alert   = 30
    report  = 60
    deliver = 30
    measure = 60
  }

  alerts = merge(local.request_alerts, local.journal_alerts, local.store_alerts, local.job_alerts)

  request_alerts = {
    proxy_failures = {
      title    = "the proxy fails calls"
      severity = "CRITICAL"
      duration = "0s"
      query    = <<-EOT
        sum(increase(${local.failures.proxy}[10m]))
          - (sum(increase(modeltrack_calls_total{status="5xx",state="completed"}[10m])) or vector(0))
        > 10 + 0.02 * sum(increase(${local.requests.proxy}[10m]))
      EOT
      means    = <<-EOT
        More than 2 % of the answers of ten minutes are 5xx that no provider gave: instances that end or do not
        start, a store that strict budgets cannot be asked of, too many large bodies at once, providers that cannot
        be reached at all. `modeltrack_refusals_total` by `code` on the dashboard tells which.
      EOT
    }
    api_failures = {
      title    = "the API fails requests"
      severity = "ERROR"
      duration = "0s"
      query    = <<-EOT
        sum(increase(${local.failures.api}[10m])) > 10 + 0.02 * sum(increase(${local.requests.api}[10m]))
      EOT
      means    = <<-EOT
        More than 2 % of the answers of ten minutes are 5xx. 503 with `Retry-After` means that Firestore did not answer;
        anything else has a line `broken` in the log, with its kind and where.
      EOT
    }
    api_slow = {
      title    = "the API is slow"
      severity = "WARNING"
      duration = "600s"
      query    = <<-EOT
        histogram_quantile(0.99, sum by (le) (rate(run_googleapis_com:request_latencies_bucket{${local.run.api}}[10m]))) > 5000
      EOT
      means    = <<-EOT
        One request in a hundred takes more than five seconds, for twenty minutes. Exports may; otherwise look for
        Firestore's latency, and for instances at their bound.
      EOT
    }
    added_latency = {
      title    = "the proxy slows calls down"
      severity = "ERROR"
      duration = "300s"
      query    = <<-EOT
        histogram_quantile(0.99, sum by (le) (rate(modeltrack_overhead_seconds_bucket[5m]))) > 0.05
      EOT
      means    = <<-EOT
        The proxy itself adds more than 50 ms to one call in a hundred. Most likely its instances have no
        processor time left: see their number and use on the dashboard, then `proxy_concurrency`.
      EOT
    }
    provider_failures = {
      title    = "a provider fails"
      severity = "WARNING"
      duration = "300s"
      query    = <<-EOT
        sum by (provider) (rate(modeltrack_calls_total{state="upstream_error"}[10m]))
          > 0.2 * sum by (provider) (rate(modeltrack_calls_total[10m]))
      EOT
      means    = <<-EOT
        More than a fifth of the calls to a provider came to nothing, over ten minutes. It is most likely theirs: see
        the status page. If it is all providers at once, it is the way out (NAT, firewall, DNS).
      EOT
    }
    instances_at_bound = {
      title    = "nearly as many instances as are allowed"
      severity = "ERROR"
      duration = "300s"
      query = join("\nor\n", [
        for service, labels in local.run :
        "sum by (service_name) (avg_over_time(run_googleapis_com:container_instance_count{${labels}}[5m])) >= ${floor(local.instances_max[service] * 0.9)}"
      ])
      means = <<-EOT
        Nine tenths of `proxy_instances_max` or `api_instances_max` are running. Beyond, callers wait and then get 429 of
        Cloud Run. If the traffic is real, raise the variable, and mind what each instance costs.
      EOT
    }
    memory = {
      title    = "an instance is nearly out of memory"
      severity = "ERROR"
      duration = "300s"
      query = join("\nor\n", [
        for service, labels in local.run :
        "histogram_quantile(0.95, sum by (le, service_name) (rate(run_googleapis_com:container_memory_utilizations_bucket{${labels}}[5m]))) > 0.9"
      ])
      means = <<-EOT
        More than 90 % of an instance's memory. At 100 % it is killed: its answered calls come back through the journal, its
        running ones are cut. Lower `proxy_concurrency` or `api_concurrency`, or give it more memory.
      EOT
    }
  }

  journal_alerts = {
    journal_lines_lost = {
      title    = "journal lines could not be written"
      severity = "CRITICAL"
      duration = "0s"
      query    = "sum(increase(modeltrack_journal_lines_lost_total[10m])) > 0"
      means    = <<-EOT
        A proxy could not write lines of its journal. Their calls are recorded from memory, unless that
        instance is killed first. See the proxy's log for `journal not written`.
      EOT
    }
    journal_late = {
      title    = "answers leave before their journal line"
      severity = "WARNING"
      duration = "300s"
      query    = "sum(rate(modeltrack_journal_late_total[10m])) > 0.01 * sum(rate(modeltrack_calls_total[10m]))"
      means    = <<-EOT
        For more than 1 % of the calls the journal took over 50 ms, so the answer went first. An instance that is killed
        then may lose the events of those calls.
      EOT
    }
    journal_unread = {
      title    = "the journal is not read"
      severity = "CRITICAL"
      duration = "600s"
      query    = <<-EOT
        max(max_over_time(pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource="pubsub_subscription",subscription_id="${module.names.journal.name}"}[10m])) > 10800
      EOT
      means    = <<-EOT
        The oldest line that recovery has not acknowledged is more than three hours old; lines of calls under way wait
        65 minutes at most. Nothing is lost for six days, then lines are refused, and Pub/Sub drops them after seven.
        See the job `recover`, and Firestore: while that does not answer, nothing is pulled.
      EOT
    }
    journal_not_exported = {
      title    = "journal lines do not reach recovery"
      severity = "CRITICAL"
      duration = "0s"
      query    = <<-EOT
        sum(increase(logging_googleapis_com:exports_error_count{monitored_resource="logging_sink",name="${module.names.journal.name}"}[10m])) > 0
      EOT
      means    = <<-EOT
        The log sink could not publish lines: a missing right on the topic, a deleted topic, a disabled key. Calls
        that instances store themselves are unharmed; what a killed instance knew is only in the journal's log bucket.
      EOT
    }
    journal_set_aside = {
      title    = "journal lines were set aside"
      severity = "ERROR"
      duration = "0s"
      query    = <<-EOT
        max(max_over_time(pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource="pubsub_subscription",subscription_id="${module.names.journal.aside}"}[10m])) > 0
      EOT
      means    = <<-EOT
        Recovery met lines that are no journal lines, or that the store refuses, and put them where they keep for a
        week: `gcloud pubsub subscriptions pull ${module.names.journal.aside}`. Each may be a call without an event.
      EOT
    }
  }

  store_alerts = {
    store_errors = {
      title    = "Firestore fails"
      severity = "CRITICAL"
      duration = "300s"
      query    = <<-EOT
        sum(rate(firestore_googleapis_com:api_request_count{monitored_resource="firestore.googleapis.com/Database",response_code=~"UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL|UNKNOWN"}[5m]))
          > 0.02 * sum(rate(firestore_googleapis_com:api_request_count{monitored_resource="firestore.googleapis.com/Database"}[5m]))
      EOT
      means    = <<-EOT
        More than 2 % of the requests to Firestore fail. Calls go on; events wait in instances and in the journal;
        strict budgets refuse once their leases are spent; the API answers 503.
      EOT
    }
    store_refuses = {
      title    = "a quota of Google's is used up"
      severity = "ERROR"
      duration = "0s"
      query    = <<-EOT
        sum by (service) (increase(serviceruntime_googleapis_com:api_request_count{monitored_resource="consumed_api",response_code="429"}[10m])) > 0
      EOT
      means    = <<-EOT
        A Google API answered "too many". The label `service` says which; docs/operations/quotas.md what to ask for.
      EOT
    }
    events_wait = {
      title    = "events are not stored"
      severity = "ERROR"
      duration = "300s"
      query    = "max(modeltrack_oldest_segment_wait_seconds) > 60"
      means    = <<-EOT
        A proxy has had events in memory for more than a minute that Firestore does not take. They are in the journal,
        too. Dashboards show less than was spent meanwhile, and `normal` budgets let through what they cannot see.
      EOT
    }
    changes_unread = {
      title    = "changes do not reach the proxies"
      severity = "ERROR"
      duration = "0s"
      query    = "max(rate(modeltrack_changes_unread_total[5m])) > 1"
      means    = <<-EOT
        A proxy asks for changes twice a second and mostly gets no answer: revoked keys still work, new budgets do not
        act yet.
      EOT
    }
  }

  job_alerts = {
    for job, minutes in local.job_minutes_max : "job_${job}" => {
      title    = "the job ${job} does not run"
      severity = contains(["check", "recover", "reap"], job) ? "CRITICAL" : "ERROR"
      duration = "0s"
      query    = "absent_over_time(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"${module.names.functions[job]}\",response_code_class=\"2xx\"}[${minutes}m])"
      means    = <<-EOT
        No run of `${job}` has come to a good end for ${minutes} minutes. Its log says why; if it has none, see the scheduler's
        job of the same name. After the first deployment it may be said once, until the first run:
        `gcloud scheduler jobs run ${module.names.functions[job]} --location ${var.region}`.
      EOT
    }
  }

  channels = concat(var.notification_channels, [for channel in google_monitoring_notification_channel.email : channel.name])
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = module.names.labels

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.has_services ? local.alerts : {}

  display_name          = "ModelTrack: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = module.names.labels

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query                     = trimspace(each.value.query)
      duration                  = each.value.duration
      evaluation_interval       = "60s"
      disable_metric_validation = true
    }
  }

  documentation {
    subject   = "ModelTrack (${var.environment}): ${each.value.title}"
    content   = each.value.means
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}
