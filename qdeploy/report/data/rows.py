"""Results as rows: each beside its machine, in groups of what may be compared.

Speeds compare within one model and one protocol, quality within one model, reference and text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Generic, TypeVar

from qdeploy.report.data.machines import called, identity
from qdeploy.results import Bench, Diagnosis, Eval, Machine, Results

R = TypeVar("R", Bench, Eval, Diagnosis)
SHORT = 8
"""Letters of a digest that people are shown."""


@dataclass(frozen=True)
class Row(Generic[R]):
    """One result and the machine that it comes from.

    Attributes:
        called: what the machine is called beside the others of these results.
    """

    machine: Machine
    called: str
    result: R


@dataclass(frozen=True)
class Group(Generic[R]):
    """Rows that may be compared, at least one."""

    rows: tuple[Row[R], ...]

    @property
    def first(self) -> R:
        return self.rows[0].result


def of_kind(files: Iterable[Results], kind: type[R]) -> list[Row[R]]:
    """Every result of a kind, in the order of the files."""
    files = list(files)
    names = called(files)
    return [
        Row(f.machine, names[identity(f.machine)], r)
        for f in files
        for r in f.results
        if isinstance(r, kind)
    ]


def speed(files: Iterable[Results]) -> list[Group[Bench]]:
    """Measurements by model and protocol."""
    return _grouped(
        of_kind(files, Bench),
        lambda b: (b.artifact.model, b.artifact.checkpoint_digest, b.protocol_hash),
    )


def quality(files: Iterable[Results]) -> list[Group[Eval]]:
    """Evaluations by model, reference and text."""
    return _grouped(
        of_kind(files, Eval),
        lambda e: (
            e.artifact.model, e.artifact.checkpoint_digest, _frozen(e.reference), _frozen(e.text),
        ),
    )  # fmt: skip


def from_float(result: Eval) -> bool:
    """Whether the reference is the float checkpoint, and not another bundle."""
    return result.reference.get("kind") == "checkpoint"


def achieved_bandwidth(row: Row[Bench]) -> float | None:
    """Bytes of weights read a second while decoding; None where the share was not measured."""
    share, measured = row.result.memory_bandwidth_utilization, row.machine.bandwidth_bytes_per_s
    if share is None or measured is None or not isfinite(share * measured):
        return None
    return share * measured


def _frozen(facts: Mapping[str, str | int]) -> Hashable:
    return tuple(sorted(facts.items()))


def _grouped(rows: Iterable[Row[R]], key: Callable[[R], Hashable]) -> list[Group[R]]:
    groups: dict[Hashable, list[Row[R]]] = {}
    for row in rows:
        groups.setdefault(key(row.result), []).append(row)
    return [Group(tuple(found)) for found in groups.values()]


def headline(row: Row[Bench] | Row[Eval]) -> str:
    """The device, which is what people compare."""
    return row.result.environment.device


def subline(row: Row[Bench] | Row[Eval]) -> str:
    """How it ran there, and on which machine."""
    result = row.result
    return f"{result.artifact.profile} · {result.environment.backend} · {row.called}"


def point(result: Bench) -> str:
    """The point of the grid: prompt and new tokens."""
    return f"{result.prompt_tokens:,} + {result.new_tokens:,}"
