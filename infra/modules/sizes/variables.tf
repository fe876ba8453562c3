variable "api_threads" {
  description = "Requests that an instance of the API serves at once."
  type        = number
}

variable "proxy_calls" {
  description = "Calls that an instance of the proxy relays at once."
  type        = number
}
