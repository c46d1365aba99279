"""The steps behind the commands: export, run, and the cache between them."""
