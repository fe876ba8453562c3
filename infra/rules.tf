# No browser and no other client reaches the database: firestore.rules refuses everybody. The services come in
# through IAM, which rules do not govern. A database without a release refuses as well, but only by habit.
resource "google_firebaserules_ruleset" "firestore" {
  source {
    language = "FIREBASE_RULES"

    files {
      name    = "firestore.rules"
      content = file("${path.module}/../firestore.rules")
    }
  }

  depends_on = [google_project_service.api]

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_firebaserules_release" "firestore" {
  name         = var.database == "(default)" ? "cloud.firestore" : "cloud.firestore/${var.database}"
  ruleset_name = "projects/${var.project}/rulesets/${google_firebaserules_ruleset.firestore.name}"

  depends_on = [google_firestore_database.events]

  lifecycle {
    replace_triggered_by = [google_firebaserules_ruleset.firestore]
  }
}
