"""No secret stands in the repository."""
