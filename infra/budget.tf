# Tells somebody when the project's bill grows beyond what was meant: half of it, nine tenths, all of it, and when the
# month is forecast to end above it. It stops nothing. Whoever applies this needs the role
# `roles/billing.costsManager` on the billing account, and quota for the call:
# `export USER_PROJECT_OVERRIDE=true GOOGLE_BILLING_PROJECT=<project>`.
resource "google_billing_budget" "month" {
  count = var.billing_account == "" ? 0 : 1

  billing_account = var.billing_account
  display_name    = "ModelTrack: ${var.project}"

  budget_filter {
    projects               = ["projects/${data.google_project.this.number}"]
    calendar_period        = "MONTH"
    credit_types_treatment = "EXCLUDE_ALL_CREDITS"
  }

  amount {
    # Without a currency it is in the billing account's own, which is the only one that is taken
    # (https://cloud.google.com/python/docs/reference/billingbudgets, BudgetAmount, read 2026-11-21).
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
      spend_basis       = "CURRENT_SPEND"
    }
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  # Besides the billing account's administrators, who get mail anyway: our own channels, of which five are taken.
  dynamic "all_updates_rule" {
    for_each = length(local.channels) == 0 ? [] : [slice(local.channels, 0, min(5, length(local.channels)))]
    content {
      monitoring_notification_channels = all_updates_rule.value
      disable_default_iam_recipients   = false
    }
  }

  depends_on = [google_project_service.api]
}
