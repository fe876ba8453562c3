# What everything is called. No resource and no provider, so that `terraform test` runs without either.
locals {
  services = {
    proxy = "modeltrack-proxy"
    api   = "modeltrack-api"
  }

  # One a job of api_service/functions/jobs.py; the schedules are those of infra/README.md, in UTC.
  # `timeout_seconds` is how long a run may take: the scheduler waits 30 minutes at most.
  jobs = {
    recover = { schedule = "* * * * *", timeout_seconds = 600 }
    reap    = { schedule = "* * * * *", timeout_seconds = 300 }
    seed    = { schedule = "* * * * *", timeout_seconds = 600 }
    compact = { schedule = "*/5 * * * *", timeout_seconds = 900 }
    retain  = { schedule = "20 * * * *", timeout_seconds = 1800 }
    erase   = { schedule = "* * * * *", timeout_seconds = 1800 }
    check   = { schedule = "15 6 * * *", timeout_seconds = 1800 }
    alert   = { schedule = "* * * * *", timeout_seconds = 600 }
    report  = { schedule = "* * * * *", timeout_seconds = 600 }
    deliver = { schedule = "* * * * *", timeout_seconds = 600 }
    measure = { schedule = "*/5 * * * *", timeout_seconds = 300 }
  }

  functions = { for job, _ in local.jobs : job => "modeltrack-${job}" }

  # https://cloud.google.com/run/docs/triggering/https-request, "Deterministic URL", read 2026-11-21.
  run_hosts = {
    for service, name in local.services : service => "${name}-${var.project_number}.${var.region}.run.app"
  }
  own_hosts = { for service, _ in local.services : service => "${service}.${var.domain}" }
  hosts     = var.domain == "" ? local.run_hosts : local.own_hosts

  accounts = {
    proxy     = "modeltrack-proxy"
    api       = "modeltrack-api"
    functions = "modeltrack-functions"
    scheduler = "modeltrack-scheduler"
    deploy    = "modeltrack-deploy"
  }

  secrets = {
    canary_key           = "modeltrack-canary-key"
    secret               = "modeltrack-secret"
    smtp_password        = "modeltrack-smtp-password"
    google_client_secret = "modeltrack-google-client-secret"
    github_client_secret = "modeltrack-github-client-secret"
  }

  # In the language of https://cloud.google.com/logging/docs/view/logging-query-language.
  log_filters = {
    # A line is an object that says of itself which of the two it is (metering/journal.py). The second form is
    # one that the platform took for text, a cut one say: recovery puts it aside.
    journal = join(" AND ", [
      "resource.type=\"cloud_run_revision\"",
      "resource.labels.service_name=\"${local.services.proxy}\"",
      "log_id(\"run.googleapis.com/stdout\")",
      "(jsonPayload.line=(\"admitted\" OR \"settled\") OR textPayload:\"{\\\"line\\\":\\\"\")",
    ])

    # In the path, where alone it opens anything; what follows a `?`, and mostly a referer, too, anybody writes who
    # wants a request not to be seen. Browsers that were given an address ask for its icon in its name.
    ingress_addresses = join(" OR ", [
      "httpRequest.requestUrl=~\"^[^?#]*/ws/[0-9a-fA-F]{16}\"",
      "(httpRequest.referer=~\"/ws/[0-9a-fA-F]{16}\" AND httpRequest.requestUrl=~\"^[^?#]*[.](ico|png)$\")",
    ])
  }
}
