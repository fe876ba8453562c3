# The deployment that people rely on. What is one's own (project, region, domain, mail server) stands in
# terraform.tfvars.
environment = "production"

# No instance waits for calls: 0 costs nothing, and the first call after a pause waits for a start. Give 1 or
# more where it must not; two survive the end of one.
proxy_instances_min = 0
proxy_instances_max = 20
api_instances_min   = 0
api_instances_max   = 10
