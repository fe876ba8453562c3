# What services and jobs are told (docs/settings.md): plain settings as values, secrets by which one they are. That they
# are hosted they know from Cloud Run, and of what is not given here the defaults hold. No resource and no
# provider: tests/infra/test_settings.py starts every service and job from exactly this.
locals {
  all = {
    LOG_LEVEL = "info"
    STORE_URL = "firestore://${var.project}/${var.database}"
  }

  measured = var.metrics_port == 0 ? {} : { METRICS_PORT = tostring(var.metrics_port) }

  # The load balancer ends X-Forwarded-For with the caller's address and its own, before which stands whatever the
  # caller wrote: https://docs.cloud.google.com/load-balancing/docs/https#x-forwarded-for_header, and what a public
  # registry behind one reads in Cloud Run: https://github.com/kubernetes/registry.k8s.io, pkg/net/clientip (both
  # read 2026-11-21). Only where no request can come another way: it would name its own address.
  forwarded = var.is_behind_load_balancer ? { FORWARDING_HOPS = "2" } : {}

  mail = {
    MAIL_FROM     = var.smtp.from
    SMTP_HOST     = var.smtp.host
    SMTP_PORT     = tostring(var.smtp.port)
    SMTP_SECURITY = var.smtp.security
    SMTP_USER     = var.smtp.user
  }

  environment = {
    proxy = merge(local.all, local.measured, local.forwarded)

    api = merge(local.all, local.measured, local.forwarded, local.mail, {
      API_THREADS      = tostring(var.api_threads)
      GITHUB_CLIENT_ID = var.github_client_id
      GOOGLE_CLIENT_ID = var.google_client_id
      PROXY_PUBLIC_URL = var.urls.proxy
      PUBLIC_URL       = var.urls.api
      SECURITY_CONTACT = var.security_contact
    })
  }

  job_environment = {
    deliver = local.mail
    measure = { PROXY_PUBLIC_URL = var.urls.proxy }
    recover = {
      JOURNAL_ASIDE_TOPIC  = var.journal_aside_topic
      JOURNAL_SUBSCRIPTION = var.journal_subscription
    }
  }

  # Setting → which secret of modules/names it is.
  secret      = { MODELTRACK_SECRET = "secret" }
  smtp_secret = var.smtp.user == "" ? {} : { SMTP_PASSWORD = "smtp_password" }

  secrets = {
    proxy = local.secret

    api = merge(
      local.secret,
      local.smtp_secret,
      var.google_client_id == "" ? {} : { GOOGLE_CLIENT_SECRET = "google_client_secret" },
      var.github_client_id == "" ? {} : { GITHUB_CLIENT_SECRET = "github_client_secret" },
    )
  }

  # Channels' addresses are sealed under the secret; no other job opens anything.
  job_secrets = {
    deliver = merge(local.secret, local.smtp_secret)
  }
}
