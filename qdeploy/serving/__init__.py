"""The HTTP server: OpenAI's API over one loaded bundle, whatever its backend."""
