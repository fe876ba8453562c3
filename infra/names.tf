# Everything that has a name gets it here, so that scripts, alarms and documents can rely on it.
module "names" {
  source = "./modules/names"

  project        = var.project
  project_number = data.google_project.this.number
  region         = var.region
  domain         = var.domain
  environment    = var.environment
}

data "google_project" "this" {
  project_id = var.project
}

locals {
  # `foundation_only` makes what images and secrets are put into; the rest comes with the second apply.
  has_services = !var.foundation_only
  is_private   = var.exposure == "internal"
}
