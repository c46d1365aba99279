"""Plugins that are not installed: entry points for a unit test or for a whole process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest

from qdeploy import plugins, registry
from qdeploy.architectures.table import architectures

SCRIPTED = {
    registry.BACKENDS: {"scripted": "tests.support.scripted:ScriptedBackend"},
    registry.EXPORTERS: {"scripted": "tests.support.scripted:ScriptedExporter"},
    registry.FORMATS: {"script": "tests.support.scripted:SCRIPT"},
}

Plugins = Mapping[str, Mapping[str, str]]
"""Entry points: group, then name, then `module:attribute`."""


def write_distribution(folder: Path, name: str, groups: Plugins) -> Path:
    """Write the metadata that an installed distribution has on `sys.path`."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{k} = {v}" for k, v in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return info


@contextmanager
def only(folder: Path, **distributions: Plugins) -> Iterator[None]:
    """Let the registry see only these plugins, by the name of their distribution."""
    points: list[EntryPoint] = []
    for name, groups in distributions.items():
        points += Distribution.at(write_distribution(folder, name, groups)).entry_points

    def entry_points(*, group: str, **_: Any) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", entry_points)
        _forget()
        yield
    _forget()


@contextmanager
def registry_of(folder: Path) -> Iterator[None]:
    """Let the registry see the distributions in *folder* and those that are installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        _forget()
        yield
    _forget()


def _forget() -> None:
    for cached in (
        architectures,
        registry.backends,
        registry.exporters,
        registry.targets,
        registry.formats,
    ):
        cached.cache_clear()
