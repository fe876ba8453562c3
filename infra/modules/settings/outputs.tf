output "environment" {
  description = "Plain settings of `proxy` and `api`; none is empty."
  value = {
    for service, settings in local.environment : service => { for name, value in settings : name => value if value != "" }
  }
}

output "job_environment" {
  description = "Plain settings of each job; none is empty."
  value = {
    for job in var.jobs : job => {
      for name, value in merge(local.all, lookup(local.job_environment, job, {})) : name => value if value != ""
    }
  }
}

output "job_secrets" {
  description = "Settings of each job that are secrets: which one each is."
  value       = { for job in var.jobs : job => lookup(local.job_secrets, job, {}) }
}

output "secret_readers" {
  description = "Each secret that is needed, and the accounts of modules/names that read it."
  value = {
    for secret in distinct(flatten([for settings in concat(values(local.secrets), values(local.job_secrets)) : values(settings)])) :
    secret => sort(distinct(concat(
      [for service, settings in local.secrets : service if contains(values(settings), secret)],
      [for _, settings in local.job_secrets : "functions" if contains(values(settings), secret)],
    )))
  }
}

output "secrets" {
  description = "Settings of `proxy` and `api` that are secrets: which one each is."
  value       = local.secrets
}
