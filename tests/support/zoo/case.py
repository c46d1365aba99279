"""One case of the zoo: a checkpoint as people have it, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL, ADAPTER = "model", "adapter"
"""Folders that a case writes: the checkpoint, and an adapter for it where the case is about one."""

Make = Callable[[Path], object]
"""Writes the folders of a case into a directory."""


@dataclass(frozen=True)
class Case:
    """A checkpoint, and what must become of it.

    It is exported and then the same as in transformers; or it is refused.

    Attributes:
        name: what is special about it.
        make: writes it.
        warns: words of each warning of the export, in order; after the fix, where there is one.
        refusal: words of the refusal, its cause and its fix; empty where it is exported.
        fix: does what the refusal advises, after which it is exported and the same. Returns the
            options of the export that the advice names.
    """

    name: str
    make: Make
    warns: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    fix: Callable[[Path], Sequence[str]] | None = None
