"""Profiles, bundle formats and plans: the precision and size of every tensor."""
