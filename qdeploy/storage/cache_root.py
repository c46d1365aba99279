"""Where the cache lies, and how its entries are named; `deploy.cache` says what is in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

ENVIRONMENT = "QDEPLOY_CACHE_DIR"


def root() -> Path:
    """Return the cache's directory: $QDEPLOY_CACHE_DIR, else the platform's cache directory."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else platformdirs.user_cache_path("qdeploy", appauthor=False)


def calibrations() -> Path:
    """Return the directory where calibration keeps the codes that it has found, by model."""
    return root() / "calibrations"


def plain(model: str) -> str:
    """Return a model's name as part of a file name: hub ids have slashes."""
    return re.sub(r"[^\w.-]+", "--", model)
