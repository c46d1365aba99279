"""The grid of prompt and answer lengths; on the command line, lists such as `128,512`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qdeploy.errors import InputError

PROMPTS, NEW = (128, 512), (64,)
"""Defaults; prompts that do not fit the context are left out."""
FEWEST_NEW = 2
"""Decoding speed is measured between tokens, so it needs two."""


class Point(NamedTuple):
    """One point of the grid: prompt tokens and new tokens."""

    prompt: int
    new: int

    @property
    def total(self) -> int:
        return self.prompt + self.new

    def __str__(self) -> str:
        return f"{self.prompt}+{self.new}"


def points(prompts: Sequence[int], new: Sequence[int]) -> tuple[Point, ...]:
    """Return every combination, by ascending total length."""
    return tuple(sorted((Point(p, n) for p in prompts for n in new), key=lambda x: (x.total, x)))


def parse(text: str, option: str, *, least: int = 1) -> tuple[int, ...]:
    """Parse integers separated by commas; return each once, ascending.

    Raises:
        InputError: the text is empty, or a part is not an integer of at least *least*.
    """
    fix = f"give numbers of tokens from {least} up, e.g. {option} 128,512"
    words = [word.strip() for word in text.split(",")]
    if not any(words):
        raise InputError("the grid is empty", where=option, fix=fix)
    values = set()
    for word in words:
        if not (word.isascii() and word.isdigit()) or len(word) > 9 or int(word) < least:
            raise InputError(f"{word!r} is not a number of tokens", where=option, fix=fix)
        values.add(int(word))
    return tuple(sorted(values))


def fitting(prompts: Sequence[int], new: Sequence[int], context: int) -> tuple[int, ...]:
    """Return the *prompts* that fit with every answer; if none does, half of the room."""
    room = context - max(new)
    found = tuple(p for p in prompts if p <= room)
    return found or (max(room // 2, 1),)


def check(grid: Sequence[Point], context: int, where: Path) -> None:
    """Check that every point fits the context of the bundle at *where*.

    Raises:
        InputError: a point does not fit.
    """
    for point in grid:
        if point.total > context:
            raise InputError(
                f"{point.prompt} prompt and {point.new} new tokens do not fit: the bundle's "
                f"context is {context} tokens",
                where=where,
                fix="a smaller --prompt or --new, or export with a longer --context",
            )
