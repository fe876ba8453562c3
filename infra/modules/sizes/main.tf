# How much memory an instance has, so that all that it may hold at once fits in: every one of these has a bound in
# the code, and tests/infra/test_sizes.py adds them up. In MiB, and in steps of 512. No resource and no provider.
locals {
  # The proxy: 113 idle, 256 bodies of requests, 64 lines of the journal, 64 answers for repeats; an answer a call.
  proxy = 113 + 256 + 64 + 64 + 1 * var.proxy_calls

  # The API: 136 idle, two passwords being hashed at 64 each, 48 of what days came to; its threads' work.
  api = 136 + 2 * 64 + 48 + 8 * var.api_threads

  # Less than 1 GiB would leave nothing for what nobody counted.
  least = 1024
  step  = 512
}
