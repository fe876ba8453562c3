# Both services inside the operator's network, `network` and `subnetwork` of terraform.tfvars: nobody else reaches them,
# and what they call goes out by it. The network needs (docs/decisions/0023):
#
# - Private Google Access on the subnetwork, so that its machines and the services reach run.app and Google's APIs;
# - a NAT gateway to reach providers and the mail server;
# - addresses enough: Cloud Run takes them of the subnetwork for its instances;
# - a private pool of Cloud Build's in it, since a release asks what it has deployed, and nobody outside is answered.
environment = "production"

exposure       = "internal"
network_egress = "ALL_TRAFFIC"

# From outside nobody can ask.
uptime_checks = false

proxy_instances_max = 20
api_instances_max   = 10
