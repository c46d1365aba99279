"""Tables as plain data, from which HTML, Markdown and the README are rendered.

Numbers are formatted when a table is rendered. All numbers of a column have the same number of
decimals, so that they align: as many as the smallest needs for three significant digits. Numbers
below `LEAST_PLAIN` are written with an exponent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_PLAIN = 1e-3


@dataclass(frozen=True)
class Badge:
    """A highlighted word: an evidence or a status."""

    word: str


Cell = str | float | Badge | None
"""A value in a table; None if it was not measured."""


@dataclass(frozen=True)
class Column:
    """Heading of a column and unit of its numbers."""

    title: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True)
class Table:
    """Columns, and rows with one cell per column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def numeric(self, index: int) -> bool:
        """Whether a column holds only numbers."""
        cells = [row[index] for row in self.rows if row[index] is not None]
        return bool(cells) and all(isinstance(cell, int | float) for cell in cells)

    def formatted(self) -> list[list[str | Badge]]:
        """Rows as text, numbers formatted by column; cells without a value are empty."""
        digits = [decimals(_numbers(self.rows, i)) for i in range(len(self.columns))]
        return [
            [_text(cell, count) for cell, count in zip(row, digits, strict=True)]
            for row in self.rows
        ]


def make_table(columns: Sequence[Column | str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Create a table, leaving out columns that have no value in any row."""
    cells = [tuple(row) for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in cells)]
    headings = [Column(c) if isinstance(c, str) else c for c in columns]
    return Table(
        tuple(headings[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in cells)
    )


def decimals(values: Iterable[float]) -> int:
    """Decimals that show the smallest of *values* with three significant digits; 0 for integers.

    Values that are written with an exponent are ignored.
    """
    plain = [abs(v) for v in values if math.isfinite(v) and abs(v) >= LEAST_PLAIN]
    if all(v == int(v) for v in plain):
        return 0
    return max(0, 2 - math.floor(math.log10(min(plain))))


def number(value: float, digits: int | None = None) -> str:
    """Format a number with thousands separators; by default with three significant digits."""
    if 0 < abs(value) < LEAST_PLAIN:
        return exponential(value, 2)
    return f"{value:,.{decimals([value]) if digits is None else digits}f}"


def exponential(value: float, digits: int) -> str:
    """Format a number like 4.9e-5, with *digits* after the decimal point."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def megabytes(nbytes: float | None) -> float | None:
    """Bytes in decimal megabytes."""
    return None if nbytes is None else nbytes / 1e6


def plain(value: object) -> str:
    """A JSON value as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numbers(rows: Iterable[Sequence[Cell]], index: int) -> list[float]:
    return [cell for row in rows if isinstance(cell := row[index], int | float)]


def _text(cell: Cell, digits: int) -> str | Badge:
    if cell is None:
        return ""
    return number(cell, digits) if isinstance(cell, int | float) else cell
