terraform {
  # 1.9: validations that look at more than one variable.
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The state names every resource and holds no secret (secrets.tf). Its bucket exists before everything else:
  # docs/operations/first-deploy.md makes it, with versions kept, and names it by `-backend-config=bucket=…`.
  backend "gcs" {
    prefix = "modeltrack"
  }
}

provider "google" {
  project = var.project
  region  = var.region

  default_labels = module.names.labels
}
