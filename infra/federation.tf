# GitHub's workflows deploy without a key: GitHub signs who is running what, and Google takes that word for one
# repository and one branch of it. The condition is on the provider, so no binding that is added later lets anybody
# else in (https://docs.github.com/en/actions/concepts/security/openid-connect, read 2026-11-21).
locals {
  has_federation = var.github_repository != ""

  # Started by who may write to the repository. Others, such as pull_request_target, run with the branch's own name
  # and at the word of strangers (https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows,
  # read 2026-11-21).
  github_events = ["push", "schedule", "workflow_dispatch"]

  # Names of deleted or renamed repositories can be taken by others; their numbers cannot.
  github_claims = {
    repository    = var.github_repository
    repository_id = var.github_repository_id
    ref           = "refs/heads/main"
  }
}

resource "google_iam_workload_identity_pool" "github" {
  count = local.has_federation ? 1 : 0

  workload_identity_pool_id = "modeltrack-github"
  display_name              = "ModelTrack: GitHub"
  description               = "Workflows of ${var.github_repository}."

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  # checkov:skip=CKV_GCP_125: it wants `sub` compared, whose form changes with environments; repository and branch are
  count = local.has_federation ? 1 : 0

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
    "attribute.ref"        = "assertion.ref"
  }
  attribute_condition = join(" && ", concat(
    [for claim, value in local.github_claims : "assertion.${claim} == \"${value}\""],
    ["assertion.event_name in ${jsonencode(local.github_events)}"],
  ))

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "github_deploys" {
  count = local.has_federation ? 1 : 0

  service_account_id = google_service_account.account["deploy"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository/${var.github_repository}"
}
