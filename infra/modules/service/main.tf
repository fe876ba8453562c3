# One Cloud Run service: a container of ours, maybe others beside it, and who may send it requests.
locals {
  container = "service"

  # A volume for each directory that a sidecar is given.
  files = merge([
    for sidecar, its in var.sidecars : {
      for directory, file in its.files :
      "${sidecar}${replace(directory, "/[^a-z0-9]+/", "-")}" => merge(file, { sidecar = sidecar, directory = directory })
    }
  ]...)
}

resource "google_cloud_run_v2_service" "this" {
  name                 = var.name
  location             = var.region
  description          = var.description
  labels               = var.labels
  ingress              = var.ingress
  invoker_iam_disabled = false
  deletion_protection  = var.deletion_protection

  # Of the service, not of a revision: else what a release tries would be kept awake beside what serves. Also
  # where it is 0, which Cloud Run answers, and which would be a difference in every plan.
  scaling {
    min_instance_count = var.instances_min
  }

  template {
    labels                           = var.labels
    service_account                  = var.service_account
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    session_affinity                 = false
    encryption_key                   = var.kms_key == "" ? null : var.kms_key

    scaling {
      max_instance_count = var.instances_max
    }

    dynamic "vpc_access" {
      for_each = var.network == "" ? [] : [var.network]
      content {
        egress = var.network_egress

        network_interfaces {
          network    = vpc_access.value
          subnetwork = var.subnetwork
        }
      }
    }

    containers {
      name    = local.container
      image   = var.image
      command = var.command
      args    = var.args

      ports {
        container_port = 8080
      }

      resources {
        cpu_idle          = !var.has_cpu_between_requests
        startup_cpu_boost = true
        limits            = { cpu = var.cpu, memory = var.memory }
      }

      dynamic "env" {
        for_each = var.environment
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets
        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      # Every second, for a minute: traffic comes as soon as it answers.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 60

        dynamic "http_get" {
          for_each = var.health_path == "" ? [] : [var.health_path]
          content {
            path = http_get.value
          }
        }

        dynamic "tcp_socket" {
          for_each = var.health_path == "" ? [8080] : []
          content {
            port = tcp_socket.value
          }
        }
      }

      # A process that is stuck is ended after half a minute. Its health says nothing of the store.
      dynamic "liveness_probe" {
        for_each = var.health_path == "" ? [] : [var.health_path]
        content {
          period_seconds    = 10
          timeout_seconds   = 5
          failure_threshold = 3

          http_get {
            path = liveness_probe.value
          }
        }
      }
    }

    dynamic "containers" {
      for_each = var.sidecars
      iterator = sidecar
      content {
        name       = sidecar.key
        image      = sidecar.value.image
        args       = sidecar.value.args
        depends_on = [local.container]

        resources {
          cpu_idle = !var.has_cpu_between_requests
          limits   = { cpu = sidecar.value.cpu, memory = sidecar.value.memory }
        }

        dynamic "env" {
          for_each = sidecar.value.environment
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "volume_mounts" {
          for_each = { for volume, file in local.files : volume => file if file.sidecar == sidecar.key }
          content {
            name       = volume_mounts.key
            mount_path = volume_mounts.value.directory
          }
        }
      }
    }

    dynamic "volumes" {
      for_each = local.files
      content {
        name = volumes.key

        secret {
          secret = volumes.value.secret

          items {
            version = volumes.value.version
            path    = volumes.value.file
          }
        }
      }
    }
  }

  # Releases choose the image and shift traffic step by step (infra/release); Terraform does neither after the
  # first apply. A changed setting makes a revision, which serves as soon as it has started. The revision's
  # name is not ignored, although each release leaves one behind and the next apply then makes a revision that
  # only lacks it: the name could not be used twice, so that no setting could ever be changed again
  # (https://github.com/hashicorp/terraform-provider-google/issues/13410, read 2026-11-21).
  lifecycle {
    ignore_changes = [
      client,
      client_version,
      template[0].containers[0].image,
      traffic,
    ]
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  name     = google_cloud_run_v2_service.this.name
  location = google_cloud_run_v2_service.this.location
  project  = var.project
  role     = "roles/run.invoker"
  member   = var.invoker
}
