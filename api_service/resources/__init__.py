"""The routes, one module a noun: each parses, asks the domain, and represents what comes back."""
