# Beside point-in-time recovery, which goes back seven days: a backup each day for a week, and each Sunday for four.
# docs/operations/restore.md says how to go back to one. What an account had is gone from all of them four weeks
# after it was erased, which docs/retention.md promises.
resource "google_firestore_backup_schedule" "daily" {
  database  = google_firestore_database.events.name
  retention = "604800s" # 7 days

  daily_recurrence {}
}

resource "google_firestore_backup_schedule" "weekly" {
  database  = google_firestore_database.events.name
  retention = "2419200s" # 28 days

  weekly_recurrence {
    day = "SUNDAY"
  }
}
