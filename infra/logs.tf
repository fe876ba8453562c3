# An ingress address is a key in a URL (`/ws/<id>/…`), and the platform writes the URL of each request into its
# request logs: Cloud Run's and the load balancer's. Those of such requests are not kept; each has a line
# of the proxy's own, which names account and key instead. All other request logs stay.
#
# An exclusion is one of the `_Default` sink (https://cloud.google.com/logging/docs/reference/v2/rest/v2/projects.exclusions,
# read 2026-11-21). A sink of an organization or a folder that takes request logs, too, wants the same one.
resource "google_logging_project_exclusion" "ingress_addresses" {
  name        = "modeltrack-ingress-addresses"
  description = "Request logs whose URL is a credential."
  filter      = module.names.log_filters.ingress_addresses
}
