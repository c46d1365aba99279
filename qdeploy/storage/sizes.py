"""Sizes in words."""

from __future__ import annotations


def size(nbytes: float) -> str:
    """Return a size in decimal units, as disks and model hubs use: 385.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} TB"
