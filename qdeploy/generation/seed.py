"""The range of seeds. This module imports nothing, so that `qdeploy run --help` stays fast."""

from __future__ import annotations

SEEDS = 2**32
"""A seed is at least 0 and below this, which is what the runtimes' generators take."""
