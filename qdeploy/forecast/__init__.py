"""Forecasts of memory and speed on a device, made from a plan without running it."""
