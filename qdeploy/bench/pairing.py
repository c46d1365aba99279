"""Pair the rows of two results files, and list the differences between them.

A row is identified by model, target, backend, profile and grid point or load; an evaluation by its
text and reference in place of the point. If the files have no value of a field in common, rows are
paired by the other fields and the field is reported as a difference. The user decides whether to
compare such rows. Data-free and calibrated bundles of a profile are told apart where both files
have the same, and else paired with each other: what calibration changed is worth knowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from qdeploy.errors import InputError
from qdeploy.results import Bench, Eval, Load, Results

FIELDS = ("model", "target", "backend", "profile")

Key = tuple[str, ...]
Measured = Bench | Load
R = TypeVar("R", bound=Bench | Load | Eval)


@dataclass(frozen=True)
class Pair(Generic[R]):
    """Two corresponding rows, one of each file."""

    a: R
    b: R

    @property
    def configuration(self) -> str:
        """The fields, with both values of one that differs."""
        one, other = row_identity(self.a), row_identity(self.b)
        words = [one[f] if one[f] == other[f] else f"{one[f]} | {other[f]}" for f in FIELDS]
        return " · ".join(words)

    @property
    def title(self) -> str:
        """Fields and grid point, or text and reference."""
        return f"{self.configuration} · {self.a.point}"


@dataclass(frozen=True)
class Pairing(Generic[R]):
    """The paired rows of two files.

    Attributes:
        differences: reasons not to compare the files, one phrase each.
        only_a, only_b: titles of the rows without a counterpart.
    """

    pairs: tuple[Pair[R], ...]
    differences: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def row_identity(row: Bench | Load | Eval) -> dict[str, str]:
    """The fields that identify a row, except the grid point or load."""
    return {
        "model": row.artifact.model,
        "target": row.environment.target,
        "backend": row.environment.backend,
        "profile": row.artifact.profile,
    }


def compared_rows(results: Results, where: Path) -> tuple[list[Measured], list[Eval]]:
    """The benchmarks and the evaluations of a file.

    Raises:
        InputError: there are none.
    """
    speeds = [row for row in results.results if isinstance(row, Bench | Load)]
    evals = [row for row in results.results if isinstance(row, Eval)]
    if not speeds and not evals:
        raise InputError(
            "there is no benchmark and no evaluation of text among these results",
            where=where,
            fix="qdeploy bench BUNDLE, or qdeploy eval BUNDLE --reference MODEL",
        )
    return speeds, evals


def pair_rows(a: Sequence[R], b: Sequence[R], names: tuple[object, object]) -> Pairing[R]:
    """Pair the rows of two files, of which either may have none; *names* are used in messages.

    Raises:
        InputError: several rows of a file have one identity.
    """
    disjoint = [f for f in FIELDS if a and b and not _values(a, f) & _values(b, f)]
    shared = tuple(f for f in FIELDS if f not in disjoint)
    kinds = [{row.artifact.calibrated for row in rows} for rows in (a, b)]
    apart = bool(kinds[0] & kinds[1])
    one, other = (
        _by_key(rows, shared, name, calibration=apart)
        for rows, name in zip((a, b), names, strict=True)
    )
    pairs = tuple(Pair(one[key], other[key]) for key in one if key in other)
    field_differences = [
        f"{f}: {', '.join(sorted(_values(a, f)))} and {', '.join(sorted(_values(b, f)))}"
        for f in disjoint
    ]
    differences = [*field_differences, *(d for p in pairs for d in pair_differences(p))]
    return Pairing(
        pairs,
        tuple(dict.fromkeys(differences)) if pairs else (),
        tuple(_title(key) for key in one if key not in other),
        tuple(_title(key) for key in other if key not in one),
    )


def pair_differences(pair: Pair[R]) -> list[str]:
    """Differences in what two rows measured: protocol or text and reference, model, evidence."""
    a, b = pair.a, pair.b
    found = _eval_differences(a, b) if isinstance(a, Eval) and isinstance(b, Eval) else []
    if not (isinstance(a, Eval) or isinstance(b, Eval)) and a.protocol_hash != b.protocol_hash:
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


def _eval_differences(a: Eval, b: Eval) -> list[str]:
    """Differences of texts or references that have the same name."""
    sides = (
        (f"text {a.text.get('name', '')}", a.text.get("sha256"), b.text.get("sha256")),
        ("reference", a.reference.get("digest"), b.reference.get("digest")),
    )
    return [f"{w}: digests {str(x)[:12]} and {str(y)[:12]}" for w, x, y in sides if x != y]


def _values(rows: Sequence[R], name: str) -> set[str]:
    return {row_identity(row)[name] for row in rows}


def _by_key(
    rows: Sequence[R], fields: Sequence[str], name: object, *, calibration: bool
) -> dict[Key, R]:
    """The rows by *fields* and point, and with *calibration* by whether they are calibrated."""
    found: dict[Key, R] = {}
    for row in rows:
        known = row_identity(row)
        marks = ("calibrated",) if calibration and row.artifact.calibrated else ()
        key = (*(known[f] for f in fields), *marks, row.point)
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
