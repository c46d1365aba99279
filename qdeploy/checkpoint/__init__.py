"""Checkpoints: found, read from their headers, and checked before any work."""
