variables {
  api_threads = 16
  proxy_calls = 250
}

run "what_is_usual_fits_into_a_gibibyte" {
  command = plan

  assert {
    condition     = output.memory.proxy == "1024Mi" && output.memory.api == "1024Mi"
    error_message = "The usual number of calls and threads has another size."
  }
}

run "the_last_call_that_fits" {
  command = plan

  variables {
    proxy_calls = 527
  }

  assert {
    condition     = output.memory.proxy == "1024Mi"
    error_message = "Memory grows before it must."
  }
}

run "one_more_call_takes_more_memory" {
  command = plan

  variables {
    proxy_calls = 528
  }

  assert {
    condition     = output.memory.proxy == "1536Mi"
    error_message = "Memory does not grow with the calls that may be held."
  }
}

run "more_threads_take_more_memory" {
  command = plan

  variables {
    api_threads = 256
  }

  assert {
    condition     = output.memory.api == "2560Mi"
    error_message = "Memory does not grow with the threads."
  }
}
