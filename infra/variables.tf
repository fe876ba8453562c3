variable "added_latency_slo" {
  description = "Promise that the proxy adds little to calls, too. Switch it on after the first calls: its metric does not exist before."
  type        = bool
  default     = false
}

variable "alert_emails" {
  description = "Addresses that alerts are mailed to, besides `notification_channels`."
  type        = list(string)
  default     = []
}

variable "api_concurrency" {
  description = "Requests that an instance of the API takes at once; as many threads serve them."
  type        = number
  default     = 16

  validation {
    condition     = var.api_concurrency >= 2 && var.api_concurrency <= 256
    error_message = "Give 2 to 256: more threads an API does not start."
  }
}

variable "api_image" {
  description = "The API's image by digest. Of the first apply: later ones leave it to the releases (cloudbuild.yaml)."
  type        = string
  default     = ""

  validation {
    condition     = var.api_image == "" ? var.foundation_only : can(regex("@sha256:[0-9a-f]{64}$", var.api_image))
    error_message = "Give the image by digest (…/modeltrack/api@sha256:…), or -var foundation_only=true before there is one."
  }
}

variable "api_instances_max" {
  description = "Instances of the API at most."
  type        = number
  default     = 10

  validation {
    condition     = var.api_instances_max >= max(1, var.api_instances_min)
    error_message = "Give 1 or more, and no fewer than are kept."
  }
}

variable "api_instances_min" {
  description = "Instances of the API that are kept while nobody asks; 0: the first one after a pause waits for a start."
  type        = number
  default     = 0
}

variable "api_requests_per_minute" {
  description = "With `domain`: requests to the API and the dashboard that one address may make in a minute."
  type        = number
  default     = 1200
}

variable "armor_preview" {
  description = "With `domain`: only log what the limits by address would refuse."
  type        = bool
  default     = false
}

variable "billing_account" {
  description = "Id of the billing account whose costs a budget watches; empty: no budget."
  type        = string
  default     = ""
}

variable "database" {
  description = "Name of the Firestore database; `(default)` is the one that the free tier covers."
  type        = string
  default     = "(default)"

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{2,61}[a-z0-9]|\\(default\\))$", var.database))
    error_message = "Give (default), or 4 to 63 small letters, digits and hyphens that begin with a letter."
  }
}

variable "domain" {
  description = "Domain under which `proxy.` and `api.` are served by a load balancer; empty: Cloud Run's own addresses, without one."
  type        = string
  default     = ""

  validation {
    condition     = var.domain == "" || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "Give a domain such as modeltrack.example.com, or none."
  }
}

variable "environment" {
  description = "`staging` or `production`. Only in staging Terraform may destroy what holds data."
  type        = string

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "Give staging or production."
  }
}

variable "exposure" {
  description = "`public`: anybody reaches the services, which ask for keys. `internal`: only what runs in `network` and its peers does."
  type        = string
  default     = "public"

  validation {
    condition     = contains(["public", "internal"], var.exposure)
    error_message = "Give public or internal."
  }

  validation {
    condition     = var.exposure == "public" || (var.network != "" && var.domain == "")
    error_message = "internal needs `network` and `subnetwork`, and no `domain`: the load balancer is one of the internet."
  }
}

variable "foundation_only" {
  description = "Make what images and secrets are put into, and no service yet. For the first apply alone."
  type        = bool
  default     = false
}

variable "github_client_id" {
  description = "The OAuth app that GitHub knows this deployment by; empty: nobody signs in with GitHub."
  type        = string
  default     = ""
}

variable "github_repository" {
  description = "`owner/name` of the repository whose workflows may deploy, without a key; empty: none."
  type        = string
  default     = ""

  validation {
    condition     = var.github_repository == "" || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "Give owner/name, or nothing."
  }
}

variable "github_repository_id" {
  description = "Number of `github_repository` (`gh api repos/owner/name --jq .id`), with it: nobody can take that over, as they can a name that was given up."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.github_repository_id)) && (var.github_repository == "") == (var.github_repository_id == "")
    error_message = "Give the number of github_repository, or neither of the two."
  }
}

variable "google_client_id" {
  description = "The client that Google knows this deployment by; empty: nobody signs in with Google."
  type        = string
  default     = ""
}

variable "kms_key" {
  description = "Cloud KMS key that everything at rest is encrypted under (projects/…/locations/…/keyRings/…/cryptoKeys/…); empty: Google's own keys. It lies in `region`."
  type        = string
  default     = ""

  validation {
    condition     = var.kms_key == "" || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "Give the key's full name, without a version, or nothing."
  }
}

variable "kms_key_database" {
  description = "The key for the database, which lies where `location` is (`us` for nam5, `europe` for eur3); empty: Google's own. Cannot be changed later."
  type        = string
  default     = ""

  validation {
    condition     = var.kms_key_database == "" || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_database))
    error_message = "Give the key's full name, without a version, or nothing."
  }
}

variable "load_balancer_log_sample_rate" {
  description = "With `domain`: share of the load balancer's requests that are logged, 0 to 1. Cloud Run logs each one, too."
  type        = number
  default     = 0.1

  validation {
    condition     = var.load_balancer_log_sample_rate >= 0 && var.load_balancer_log_sample_rate <= 1
    error_message = "Give a share from 0 to 1."
  }
}

variable "location" {
  description = "Where Firestore keeps the data, for example `nam5`, `eur3` or a single region. Cannot be changed later."
  type        = string
}

variable "mail_from" {
  description = "The address that mail is from."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", var.mail_from))
    error_message = "Give the address alone, for example modeltrack@example.com."
  }
}

variable "metrics_sidecar_image" {
  description = "Google's collector that brings `/metrics` to Cloud Monitoring; by digest where you have looked it up. Empty: nobody reads them, and alerts that need them stay silent."
  type        = string
  default     = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.2.0"
}

variable "monthly_budget" {
  description = "What the project may cost a month before somebody is told, in whole units of the billing account's own currency; with `billing_account`."
  type        = number
  default     = 100
}

variable "network" {
  description = "VPC network that the services' own calls go out by, such as `projects/…/global/networks/…`; empty: none."
  type        = string
  default     = ""

  validation {
    condition     = (var.network == "") == (var.subnetwork == "")
    error_message = "Give network and subnetwork, or none."
  }
}

variable "network_egress" {
  description = "With `network`: what goes out by it. `PRIVATE_RANGES_ONLY` or `ALL_TRAFFIC`, which needs a NAT gateway to reach providers."
  type        = string
  default     = "PRIVATE_RANGES_ONLY"

  validation {
    condition     = contains(["ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"], var.network_egress)
    error_message = "Give ALL_TRAFFIC or PRIVATE_RANGES_ONLY."
  }
}

variable "notification_channels" {
  description = "Names of the monitoring channels that alarms go to; none: they only show in the console."
  type        = list(string)
  default     = []
}

variable "project" {
  description = "Id of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "Give the project's id, not its name or number."
  }
}

variable "proxy_concurrency" {
  description = "Calls that an instance of the proxy relays at once. Streams wait most of their time, so it takes many."
  type        = number
  default     = 250

  validation {
    condition     = var.proxy_concurrency >= 1 && var.proxy_concurrency <= 1000
    error_message = "Give 1 to 1000, which is as far as Cloud Run goes."
  }
}

variable "proxy_image" {
  description = "The proxy's image by digest. Of the first apply: later ones leave it to the releases (cloudbuild.yaml)."
  type        = string
  default     = ""

  validation {
    condition     = var.proxy_image == "" ? var.foundation_only : can(regex("@sha256:[0-9a-f]{64}$", var.proxy_image))
    error_message = "Give the image by digest (…/modeltrack/proxy@sha256:…), or -var foundation_only=true before there is one."
  }
}

variable "proxy_instances_max" {
  description = "Instances of the proxy at most. Each reads what changed twice a second, and takes slices of budgets of its own."
  type        = number
  default     = 20

  validation {
    condition     = var.proxy_instances_max >= max(1, var.proxy_instances_min)
    error_message = "Give 1 or more, and no fewer than are kept."
  }
}

variable "proxy_instances_min" {
  description = "Instances of the proxy that are kept while nobody calls; 0: the first call after a pause waits for a start."
  type        = number
  default     = 0
}

variable "proxy_requests_per_minute" {
  description = "With `domain`: calls that one address may make in a minute. Whole companies call from one address, and accounts have limits of their own."
  type        = number
  default     = 60000
}

variable "region" {
  description = "Region of everything that is not the database."
  type        = string
}

variable "secret_versions" {
  description = "Versions of secrets that are in use, by the secret's name; 1 where none is named. Changed by hand when a new one is to be used (docs/operations/secrets.md), never `latest`: two instances would hash keys differently."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for version in values(var.secret_versions) : can(regex("^[1-9][0-9]*$", version))])
    error_message = "Give numbers of versions."
  }
}

variable "security_contact" {
  description = "Where weaknesses are reported to, as /security tells: an e-mail address, or one on the web."
  type        = string

  validation {
    condition     = can(regex("^([^@ ]+@[A-Za-z0-9.-]+|https://[A-Za-z0-9.-]+(/[A-Za-z0-9./_~%-]*)?)$", var.security_contact))
    error_message = "Give an e-mail address, or one on the web that begins with https://."
  }
}

variable "smtp_host" {
  description = "The mail server that takes the deployment's mail. People confirm their address by mail, so there is none without."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", var.smtp_host))
    error_message = "Give the mail server's name; people confirm their address by mail."
  }
}

variable "smtp_port" {
  description = "Its port."
  type        = number
  default     = 587

  validation {
    condition     = var.smtp_port >= 1 && var.smtp_port <= 65535
    error_message = "Give a port, most likely 587 or 465."
  }
}

variable "smtp_security" {
  description = "`starttls`, or `tls` from the first byte."
  type        = string
  default     = "starttls"

  validation {
    condition     = contains(["starttls", "tls"], var.smtp_security)
    error_message = "Give starttls or tls: mail does not travel readable."
  }
}

variable "smtp_user" {
  description = "Who logs in to it, with the secret modeltrack-smtp-password; empty: nobody does."
  type        = string
  default     = ""
}

variable "subnetwork" {
  description = "Subnetwork of `network`, in `region`; Cloud Run takes addresses of it for each instance."
  type        = string
  default     = ""
}

variable "uptime_checks" {
  description = "Ask both services from outside every five minutes. That keeps an instance of each."
  type        = bool
  default     = true
}
