"""The dashboard: pages that show the API's own answers, and forms that the API's own operations take."""
