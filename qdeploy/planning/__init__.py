"""Profiles, bundle formats and plans: precision and size of every tensor, memory of devices."""
