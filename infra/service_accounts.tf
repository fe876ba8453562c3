# Who acts under which account. None has a key: Cloud Run, the scheduler, Cloud Build and federation hand out
# tokens that end by themselves.
locals {
  account_tasks = {
    proxy     = "The proxy: writes events, reads policies and keys."
    api       = "The API and the dashboard."
    functions = "The jobs that run in the background."
    scheduler = "Invokes the jobs, and may do nothing else."
    deploy    = "Builds images and releases them."
  }
}

resource "google_service_account" "account" {
  for_each = module.names.accounts

  account_id   = each.value
  display_name = each.value
  description  = local.account_tasks[each.key]

  depends_on = [google_project_service.api]
}
