"""Container 2: the REST API (and later the dashboard). Start at `app`."""
