output "memory" {
  description = "Memory of an instance of `proxy` and of `api`, as Cloud Run writes it."
  value = {
    for service, wanted in { proxy = local.proxy, api = local.api } :
    service => "${max(local.least, local.step * ceil(wanted / local.step))}Mi"
  }
}
