"""Helpers that several test files share: checkpoints, a scripted runtime, the real command."""
