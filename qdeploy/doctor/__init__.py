"""Tests what works on this machine: exports, loads and runs the embedded models.

cases    the combinations to test: targets, backends, models, profiles
examine  tests one case in a worker process with a deadline, and returns a diagnosis
worker   the worker's end

Drivers crash and hang. In a worker process, that is one row of the table.
"""
