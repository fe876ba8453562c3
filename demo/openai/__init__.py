"""OpenAI's API as the demo speaks it, and Azure's, which differs in paths, keys and a few frames."""
