"""Settings of the unit tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# a busy machine is no reason to fail
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
