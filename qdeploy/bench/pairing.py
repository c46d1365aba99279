"""Pair the benchmark rows of two results files, and list the differences between them.

A row is identified by model, target, backend, profile and grid point or load. If the files have no
value of a field in common, rows are paired by the other fields and the field is reported as a
difference. The user decides whether to compare such rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qdeploy.errors import InputError
from qdeploy.results import Bench, Load, Results

FIELDS = ("model", "target", "backend", "profile")

Key = tuple[str, ...]
Measured = Bench | Load


@dataclass(frozen=True)
class Pair:
    """Two corresponding rows, one of each file."""

    a: Measured
    b: Measured

    @property
    def title(self) -> str:
        """Fields and grid point, with both values of a field that differs."""
        one, other = row_identity(self.a), row_identity(self.b)
        words = [one[f] if one[f] == other[f] else f"{one[f]} | {other[f]}" for f in FIELDS]
        return f"{' · '.join(words)} · {self.a.point}"


@dataclass(frozen=True)
class Pairing:
    """The paired rows of two files.

    Attributes:
        differences: reasons not to compare the files, one phrase each.
        only_a, only_b: titles of the rows without a counterpart.
    """

    pairs: tuple[Pair, ...]
    differences: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def row_identity(row: Measured) -> dict[str, str]:
    """The fields that identify a row, except the grid point or load."""
    return {
        "model": row.artifact.model,
        "target": row.environment.target,
        "backend": row.environment.backend,
        "profile": row.artifact.profile,
    }


def bench_rows(results: Results, where: Path) -> list[Measured]:
    """The benchmark rows of a file.

    Raises:
        InputError: there are none.
    """
    rows = [row for row in results.results if isinstance(row, Bench | Load)]
    if not rows:
        raise InputError(
            "there is no benchmark among these results", where=where, fix="qdeploy bench BUNDLE"
        )
    return rows


def pair_rows(
    a: Sequence[Measured], b: Sequence[Measured], names: tuple[object, object]
) -> Pairing:
    """Pair the rows of two files; *names* are used in messages.

    Raises:
        InputError: the files have nothing in common, or several rows of a file have one identity.
    """
    disjoint = [f for f in FIELDS if not _values(a, f) & _values(b, f)]
    shared = tuple(f for f in FIELDS if f not in disjoint)
    one, other = (_by_key(rows, shared, name) for rows, name in zip((a, b), names, strict=True))
    pairs = tuple(Pair(one[key], other[key]) for key in one if key in other)
    if not pairs:
        raise InputError(
            f"nothing in common: {names[0]} has {_listing(one)}; {names[1]} has {_listing(other)}",
            fix="measure both with the same --prompt and --new",
        )
    field_differences = [
        f"{f}: {', '.join(sorted(_values(a, f)))} and {', '.join(sorted(_values(b, f)))}"
        for f in disjoint
    ]
    return Pairing(
        pairs,
        tuple(
            dict.fromkeys([*field_differences, *(d for p in pairs for d in pair_differences(p))])
        ),
        tuple(_title(key) for key in one if key not in other),
        tuple(_title(key) for key in other if key not in one),
    )


def pair_differences(pair: Pair) -> list[str]:
    """Differences in what two rows measured: protocol, checkpoint, evidence."""
    a, b = pair.a, pair.b
    found = []
    if a.protocol_hash != b.protocol_hash:
        keys = sorted(a.protocol.keys() | b.protocol.keys())
        what = [
            f"{key} {a.protocol.get(key)} and {b.protocol.get(key)}"
            for key in keys
            if a.protocol.get(key) != b.protocol.get(key)
        ]
        found.append(f"protocol: {'; '.join(what) or 'hashes'}")
    one, other = a.artifact.checkpoint_digest, b.artifact.checkpoint_digest
    if one != other and a.artifact.model == b.artifact.model:
        found.append(
            f"model: {a.artifact.model} with checkpoint digests {one[:12]} and {other[:12]}"
        )
    if a.environment.evidence is not b.environment.evidence:
        found.append(f"evidence: {a.environment.evidence} and {b.environment.evidence}")
    return found


def _values(rows: Sequence[Measured], name: str) -> set[str]:
    return {row_identity(row)[name] for row in rows}


def _by_key(rows: Sequence[Measured], fields: Sequence[str], name: object) -> dict[Key, Measured]:
    found: dict[Key, Measured] = {}
    for row in rows:
        known = row_identity(row)
        key = (*(known[f] for f in fields), row.point)
        if key in found:
            raise InputError(
                f"several rows are {_title(key)}, so it is unclear which to compare",
                where=name,
                fix="give files with one result of each",
            )
        found[key] = row
    return found


def _title(key: Key) -> str:
    return " · ".join(key)


def _listing(keyed: dict[Key, Measured]) -> str:
    return ", ".join(_title(key) for key in keyed)
