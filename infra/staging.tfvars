# A deployment to try releases on. What is one's own (project, region, mail server) stands in terraform.tfvars.
environment = "staging"

# Small, and without checks from outside, which would keep the API awake; the proxy is kept so by the job `measure`.
proxy_instances_max = 3
api_instances_max   = 3
uptime_checks       = false

monthly_budget = 50
