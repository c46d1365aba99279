"""Plugins of third parties, and qdeploy's own, found through entry points.

A plugin that fails to import is an error that names its distribution: a broken plugin must never
just be absent from a list.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from qdeploy.errors import QdeployError

T = TypeVar("T")


def load_plugins(group: str, kind: type[T]) -> dict[str, T]:
    """Every plugin of an entry-point group by name, qdeploy's own first.

    Raises:
        QdeployError: one does not load, is no *kind*, or has the name of another.
    """
    found: dict[str, T] = {}
    for point in sorted(entry_points(group=group), key=_own_first):
        if point.name in found:
            raise QdeployError(
                f"a second {group} plugin is called {point.name!r}: {point.value} of "
                f"{_origin(point)}",
                fix=f"uninstall {_origin(point)}, or the other",
            )
        found[point.name] = _instantiate(point, kind)
    return found


def _own_first(point: EntryPoint) -> tuple[bool, str]:
    return (not point.value.startswith("qdeploy."), point.name)


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown distribution"


def _instantiate(point: EntryPoint, kind: type[T]) -> T:
    origin = _origin(point)
    try:
        loaded = point.load()
        plugin = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise QdeployError(
            f"{point.group} plugin {point.name!r} of {origin} does not load ({error!r})",
            where=point.value,
            fix=f"pip install --upgrade {origin}, or uninstall it",
        ) from error
    if not isinstance(plugin, kind):
        raise QdeployError(f"{point.value} of {origin} is not a {kind.__name__}")
    if (name := getattr(plugin, "name", None)) != point.name:
        raise QdeployError(f"{point.value} of {origin} calls itself {name!r}")
    return plugin
