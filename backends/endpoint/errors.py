"""Servers that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.engines.faults import EngineGone
from qdeploy.errors import TargetUnavailable


def none_is_named(variable: str) -> TargetUnavailable:
    """The error where no address is given."""
    return TargetUnavailable("no server is named", f"give --endpoint URL, or set {variable}")


@contextmanager
def absent() -> Iterator[None]:
    """Make of a server that cannot be reached a device that is absent.

    Raises:
        TargetUnavailable: in place of EngineGone.
    """
    try:
        yield
    except EngineGone as error:
        raise TargetUnavailable(error.what, error.fix or "", where=error.where) from error
