"""Forecasts: what a model should reach on a device, before anything ran there."""
