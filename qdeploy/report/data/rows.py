"""Results with their machines, grouped by what may be compared.

Speed is compared within one model and one protocol; quality within one model, reference and text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Generic, TypeVar

from qdeploy.report.data.machines import machine_identity, machine_names
from qdeploy.results import Bench, Diagnosis, EncodingEval, Eval, Load, Machine, Results

R = TypeVar("R", Bench, Load, Eval, EncodingEval, Diagnosis)
SHORT = 8
"""Characters of a digest that are displayed."""


@dataclass(frozen=True)
class Row(Generic[R]):
    """One result and the machine that it was measured on.

    Attributes:
        machine_name: unique among the machines of the report.
    """

    machine: Machine
    machine_name: str
    result: R


@dataclass(frozen=True)
class Group(Generic[R]):
    """One or more rows that may be compared."""

    rows: tuple[Row[R], ...]

    @property
    def first(self) -> R:
        return self.rows[0].result


def rows_of_kind(files: Iterable[Results], kind: type[R]) -> list[Row[R]]:
    """All results of one kind, in the order of the files."""
    files = list(files)
    names = machine_names(files)
    return [
        Row(file.machine, names[machine_identity(file.machine)], result)
        for file in files
        for result in file.results
        if isinstance(result, kind)
    ]


def group_benchmarks(files: Iterable[Results]) -> list[Group[Bench]]:
    """Benchmark results grouped by model and protocol."""
    return _grouped(
        rows_of_kind(files, Bench),
        lambda b: (b.artifact.model, b.artifact.checkpoint_digest, b.protocol_hash),
    )


def group_loads(files: Iterable[Results]) -> list[Group[Load]]:
    """Results under load, grouped by model and protocol."""
    return _grouped(
        rows_of_kind(files, Load),
        lambda b: (b.artifact.model, b.artifact.checkpoint_digest, b.protocol_hash),
    )


def group_evaluations(files: Iterable[Results]) -> list[Group[Eval]]:
    """Evaluations grouped by model, reference and text."""
    return _grouped(
        rows_of_kind(files, Eval),
        lambda e: (
            e.artifact.model, e.artifact.checkpoint_digest, _frozen(e.reference), _frozen(e.text),
        ),
    )  # fmt: skip


def has_float_reference(result: Eval) -> bool:
    """Whether the reference is the float checkpoint, not another bundle."""
    return result.reference.get("kind") == "checkpoint"


def achieved_bandwidth(row: Row[Bench]) -> float | None:
    """Bytes of weights read per second while decoding; None if not measured."""
    utilization = row.result.memory_bandwidth_utilization
    measured = row.machine.bandwidth_bytes_per_s
    if utilization is None or measured is None or not isfinite(utilization * measured):
        return None
    return utilization * measured


def _frozen(facts: Mapping[str, str | int]) -> Hashable:
    return tuple(sorted(facts.items()))


def _grouped(rows: Iterable[Row[R]], key: Callable[[R], Hashable]) -> list[Group[R]]:
    groups: dict[Hashable, list[Row[R]]] = {}
    for row in rows:
        groups.setdefault(key(row.result), []).append(row)
    return [Group(tuple(members)) for members in groups.values()]


def headline(row: Row[Bench] | Row[Load] | Row[Eval]) -> str:
    """First line of a label in a chart: the device."""
    return row.result.environment.device


def subline(row: Row[Bench] | Row[Load] | Row[Eval]) -> str:
    """Second line of a label in a chart: profile, backend and machine."""
    result = row.result
    profile = profile_name(result.artifact.profile, calibrated=result.artifact.calibrated)
    return f"{profile} · {result.environment.backend} · {row.machine_name}"


def profile_name(profile: str, *, calibrated: bool) -> str:
    """The profile, told apart from its calibrated twin."""
    return f"{profile} (calibrated)" if calibrated else profile


def grid_point(result: Bench) -> str:
    """The grid point: prompt tokens + new tokens."""
    return f"{result.prompt_tokens:,} + {result.new_tokens:,}"
