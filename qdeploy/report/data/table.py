"""A table as plain data: the page, the Markdown and the README cannot tell different things.

Numbers are kept as numbers until they are shown. Within a column all have the same number of
decimals, as many as the smallest needs for three significant digits, so that they line up. One
below `LEAST_PLAIN` has an exponent instead, since rows of zeros tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_PLAIN = 1e-3


@dataclass(frozen=True)
class Badge:
    """A word that is to be seen at once: an evidence or a status."""

    word: str


Cell = str | float | Badge | None
"""What a table holds; None is a value that nobody measured."""


@dataclass(frozen=True)
class Column:
    """A column's heading, and the unit of its numbers."""

    title: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def numeric(self, index: int) -> bool:
        """Whether a column holds numbers, and nothing else."""
        cells = [row[index] for row in self.rows if row[index] is not None]
        return bool(cells) and all(isinstance(cell, int | float) for cell in cells)

    def shown(self) -> list[list[str | Badge]]:
        """Rows as text, numbers formatted by column; what was not measured is empty."""
        places = [decimals(_numbers(self.rows, i)) for i in range(len(self.columns))]
        return [
            [_text(cell, digits) for cell, digits in zip(row, places, strict=True)]
            for row in self.rows
        ]


def table(columns: Sequence[Column | str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Make a table without the columns that have no value in any row."""
    made = [tuple(row) for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in made)]
    headings = [Column(c) if isinstance(c, str) else c for c in columns]
    return Table(
        tuple(headings[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in made)
    )


def decimals(values: Iterable[float]) -> int:
    """Decimals that show the smallest of *values* with three significant digits; none for wholes.

    Of those that are shown without an exponent.
    """
    found = [abs(v) for v in values if math.isfinite(v) and abs(v) >= LEAST_PLAIN]
    if all(v == int(v) for v in found):
        return 0
    return max(0, 2 - math.floor(math.log10(min(found))))


def number(value: float, digits: int | None = None) -> str:
    """A number with thousands apart; alone, with three significant digits."""
    if 0 < abs(value) < LEAST_PLAIN:
        return exponential(value, 2)
    return f"{value:,.{decimals([value]) if digits is None else digits}f}"


def exponential(value: float, digits: int) -> str:
    """A number as short as 4.9e-5, with *digits* after the point."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def megabytes(nbytes: float | None) -> float | None:
    """Bytes in MB, decimal as disks count."""
    return None if nbytes is None else nbytes / 1e6


def _numbers(rows: Iterable[Sequence[Cell]], index: int) -> list[float]:
    return [cell for row in rows if isinstance(cell := row[index], int | float)]


def _text(cell: Cell, digits: int) -> str | Badge:
    if cell is None:
        return ""
    return number(cell, digits) if isinstance(cell, int | float) else cell
