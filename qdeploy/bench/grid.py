"""The grid: lengths of prompts and answers, as `128,512` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qdeploy.errors import InputError

PROMPTS, NEW = (128, 512), (64,)
"""What is measured unless the user says otherwise, as far as the context has room."""
FEWEST_NEW = 2
"""The speed of decoding is measured between tokens."""


class Point(NamedTuple):
    """Tokens of the prompt, and tokens made after it."""

    prompt: int
    new: int

    @property
    def total(self) -> int:
        return self.prompt + self.new

    def __str__(self) -> str:
        return f"{self.prompt}+{self.new}"


def points(prompts: Sequence[int], new: Sequence[int]) -> tuple[Point, ...]:
    """Every pair of the two, by ascending length."""
    return tuple(sorted((Point(p, n) for p in prompts for n in new), key=lambda x: (x.total, x)))


def parse(text: str, option: str, *, least: int = 1) -> tuple[int, ...]:
    """Read whole numbers separated by commas; each once, ascending.

    Raises:
        InputError: nothing there, something else than numbers, or one below *least*.
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
    """Those of the default *prompts* after which every answer fits; if none, half the context."""
    room = context - max(new)
    found = tuple(p for p in prompts if p <= room)
    return found or (max(room // 2, 1),)


def check(grid: Sequence[Point], context: int, where: Path) -> None:
    """Refuse a point that a bundle's context has no room for.

    Raises:
        InputError: with the longest point there is room for.
    """
    for point in grid:
        if point.total > context:
            raise InputError(
                f"{point.prompt} prompt and {point.new} new tokens do not fit: the bundle's "
                f"context is {context} tokens",
                where=where,
                fix="a smaller --prompt or --new, or export with a longer --context",
            )
