# What the services are told (docs/settings.md). That they are hosted they know from Cloud Run. Of what is not
# given here the defaults hold; tests/infra/test_settings.py holds every name against the settings' classes.
locals {
  settings = {
    LOG_LEVEL = "info"
    STORE_URL = "firestore://${var.project}/${var.database}"
  }

  mail_settings = {
    MAIL_FROM     = var.mail_from
    SMTP_HOST     = var.smtp_host
    SMTP_PORT     = tostring(var.smtp_port)
    SMTP_SECURITY = var.smtp_security
    SMTP_USER     = var.smtp_user
  }

  ingress = (
    local.is_private ? "INGRESS_TRAFFIC_INTERNAL_ONLY" :
    var.domain == "" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  )
}
