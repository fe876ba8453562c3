variables {
  project        = "example-project"
  project_number = "123456789012"
  region         = "europe-west1"
  domain         = ""
  environment    = "staging"
}

run "without_a_domain_services_have_the_addresses_that_cloud_run_gives" {
  command = plan

  assert {
    condition     = output.urls.proxy == "https://modeltrack-proxy-123456789012.europe-west1.run.app"
    error_message = "The proxy's address is not the one that Cloud Run makes of name, number and region."
  }

  assert {
    condition     = output.hosts.api == "modeltrack-api-123456789012.europe-west1.run.app"
    error_message = "The API's host is not the one that Cloud Run makes of name, number and region."
  }
}

run "with_a_domain_each_service_has_a_host_of_it" {
  command = plan

  variables {
    domain = "modeltrack.example.com"
  }

  assert {
    condition     = output.urls == { api = "https://api.modeltrack.example.com", proxy = "https://proxy.modeltrack.example.com" }
    error_message = "The addresses are not https, or not of the domain."
  }
}

run "no_name_is_too_long_for_its_address" {
  command = plan

  # A segment of a name in the DNS has 63 characters; a release puts a tag of some twenty before it.
  assert {
    condition = alltrue([
      for name in concat(values(output.services), values(output.functions)) : length("candidate-0123456789---${name}-123456789012") <= 63
    ])
    error_message = "Cloud Run would give a service an address that nobody can foretell."
  }

  # https://cloud.google.com/iam/docs/service-accounts-create: 6 to 30 characters.
  assert {
    condition     = alltrue([for id in values(output.accounts) : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", id))])
    error_message = "A service account's id is not one."
  }
}

run "every_job_has_a_service_of_its_own_and_time_that_the_scheduler_grants" {
  command = plan

  assert {
    condition     = keys(output.functions) == keys(output.jobs) && length(distinct(concat(values(output.functions), values(output.services)))) == 13
    error_message = "Two of the services share a name, or a job has none."
  }

  # https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs, attemptDeadline: 15 s to 30 min.
  assert {
    condition     = alltrue([for job in values(output.jobs) : job.timeout_seconds >= 15 && job.timeout_seconds <= 1800])
    error_message = "The scheduler waits for 15 seconds to 30 minutes."
  }

  assert {
    condition     = alltrue([for job in values(output.jobs) : can(regex("^([0-9*/,-]+ ){4}[0-9*/,-]+$", job.schedule))])
    error_message = "A schedule has no five fields."
  }
}

run "only_production_is_production" {
  command = plan

  variables {
    environment = "production"
  }

  assert {
    condition     = output.is_production && output.labels.environment == "production"
    error_message = "Production is not protected, or not labelled."
  }
}

run "staging_is_not" {
  command = plan

  assert {
    condition     = !output.is_production && output.labels.environment == "staging"
    error_message = "Staging is protected, or labelled as something else."
  }
}

run "images_lie_in_the_region_and_the_project" {
  command = plan

  assert {
    condition     = output.images.proxy == "europe-west1-docker.pkg.dev/example-project/modeltrack/proxy"
    error_message = "The proxy's image is not where releases push it."
  }
}
