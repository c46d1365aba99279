"""A Python in which chosen distributions count as not installed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SITE = """\
import sys

ABSENT = {names!r}


class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return None
        return self._finder.find_spec(name, path, target)

    def find_distributions(self, *arguments, **options):
        find = getattr(self._finder, "find_distributions", lambda *_, **__: ())
        return (d for d in find(*arguments, **options) if d.name.replace("-", "_") not in ABSENT)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def without(folder: Path, names: Iterable[str]) -> str:
    """Make a directory for PYTHONPATH that hides the modules and distributions of these names."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE.format(names=set(names)))
    return str(folder)
