"""Engines: servers that speak OpenAI's HTTP API, with a runtime and an environment of their own."""
