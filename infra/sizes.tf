# How much memory the services' instances have.
module "sizes" {
  source = "./modules/sizes"

  api_threads = var.api_concurrency
  proxy_calls = var.proxy_concurrency
}
