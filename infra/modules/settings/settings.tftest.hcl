variables {
  project              = "example-project"
  database             = "(default)"
  urls                 = { proxy = "https://proxy.example.com", api = "https://api.example.com" }
  jobs                 = ["deliver", "measure", "recover", "seed"]
  api_threads          = 16
  metrics_port         = 0
  security_contact     = "security@example.com"
  google_client_id     = ""
  github_client_id     = ""
  journal_subscription = "projects/example-project/subscriptions/modeltrack-journal"
  journal_aside_topic  = "projects/example-project/topics/modeltrack-journal-aside"
  smtp                 = { host = "smtp.example.com", port = 587, security = "starttls", user = "", from = "modeltrack@example.com" }
}

run "no_setting_is_given_empty" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for settings in concat(values(output.environment), values(output.job_environment)) : [for value in values(settings) : value != ""]
    ]))
    error_message = "An empty setting is given, which only says nothing."
  }
}

run "a_secret_is_given_to_whoever_needs_it_and_to_nobody_else" {
  command = plan

  assert {
    condition     = jsonencode(output.secret_readers) == jsonencode({ secret = ["api", "functions", "proxy"] })
    error_message = "Somebody reads a secret that is not used."
  }

  assert {
    condition     = [for job, secrets in output.job_secrets : job if length(secrets) > 0] == ["deliver"]
    error_message = "A job that opens nothing has a secret."
  }
}

run "who_logs_in_somewhere_has_the_password_for_it" {
  command = plan

  variables {
    google_client_id = "google"
    github_client_id = "github"
    smtp             = { host = "smtp.example.com", port = 465, security = "tls", user = "mailer", from = "modeltrack@example.com" }
  }

  assert {
    condition = jsonencode(output.secret_readers) == jsonencode({
      secret               = ["api", "functions", "proxy"]
      smtp_password        = ["api", "functions"]
      google_client_secret = ["api"]
      github_client_secret = ["api"]
    })
    error_message = "A password is missing, or somebody reads one who does not log in."
  }
}

run "metrics_are_opened_where_somebody_reads_them" {
  command = plan

  variables {
    metrics_port = 9090
  }

  assert {
    condition     = output.environment.proxy.METRICS_PORT == "9090" && output.environment.api.METRICS_PORT == "9090"
    error_message = "A service opens no listener for its collector."
  }

  assert {
    condition     = alltrue([for settings in values(output.job_environment) : !contains(keys(settings), "METRICS_PORT")])
    error_message = "A job opens a listener that nobody reads."
  }
}

run "callers_are_told_apart_behind_the_load_balancer" {
  command = plan

  variables {
    is_behind_load_balancer = true
  }

  assert {
    condition     = output.environment.proxy.FORWARDING_HOPS == "2" && output.environment.api.FORWARDING_HOPS == "2"
    error_message = "Everybody would seem to call from the load balancer's own address."
  }
}

run "without_a_load_balancer_its_entry_is_not_waited_for" {
  command = plan

  assert {
    condition     = alltrue([for settings in values(output.environment) : !contains(keys(settings), "FORWARDING_HOPS")])
    error_message = "Callers could say any address."
  }
}
