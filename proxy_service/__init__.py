"""Container 1: the stateless proxy between a caller and its LLM provider. Start at `exchange`."""
