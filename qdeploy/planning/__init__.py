"""Profiles and plans: how every tensor will be stored, and what that costs."""
