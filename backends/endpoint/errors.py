"""Servers that are not there."""

from __future__ import annotations

from qdeploy.errors import TargetUnavailable


def none_is_named(variable: str) -> TargetUnavailable:
    """The error where no address is given."""
    return TargetUnavailable("no server is named", f"give --endpoint URL, or set {variable}")
