"""Versions of what is installed, as manifests and results state them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from importlib import metadata


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Of those distributions that are installed: a name that is missing here is left out."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
