"""Tokenizers for the runtimes' own loops, read from tokenizer.json."""
