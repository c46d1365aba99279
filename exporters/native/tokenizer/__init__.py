"""Reads `tokenizer.json` for formats whose runtimes have a tokenizer of their own."""
