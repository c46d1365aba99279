"""An output of one file, for tests of atomic writes."""

from __future__ import annotations

from pathlib import Path

from qdeploy.storage.atomic import OutputKind, atomic_directory

MARKER = "marker"
KIND = OutputKind(MARKER, lambda _: [MARKER])


def write(destination: Path, content: str) -> None:
    with atomic_directory(destination, KIND, force=True) as folder:
        (folder / MARKER).write_text(content)


def holds(destination: Path) -> str:
    """Return the content of the only file in the only directory, beside which nothing is left."""
    assert [p.name for p in destination.parent.iterdir()] == [destination.name]
    assert [p.name for p in destination.iterdir()] == [MARKER]
    return (destination / MARKER).read_text()
