"""The table "Data-free against calibrated": each bundle whose data-free twin was evaluated too."""

from __future__ import annotations

from collections.abc import Iterable

from qdeploy.evaluate.change import LEAST_NATS, judge_quality
from qdeploy.report.data.machines import machine_identity
from qdeploy.report.data.rows import Group, Row
from qdeploy.report.data.table import Badge, Cell, Column, Table, make_table, number
from qdeploy.results import Eval

COLUMNS = (
    "model", "text", "profile", Column("data-free KL", "nats (95% interval)"),
    Column("calibrated KL", "nats (95% interval)"), Column("difference", "nats (95% interval)"),
    "change", "verdict", "device", "evidence", "against", "backend", "machine",
)  # fmt: skip


def calibration_table(groups: Iterable[Group[Eval]]) -> Table:
    """One row for each text and calibrated bundle; empty where nothing was calibrated.

    Both results are of one model, reference, text, target, backend, device, profile and machine.
    The verdict is that of `judge_quality`.
    """
    cells = []
    for group in groups:
        data_free: dict[tuple[object, ...], Row[Eval]] = {}
        for row in group.rows:
            if not row.result.artifact.calibrated:
                data_free.setdefault(_configuration(row), row)
        cells += [
            _cells(data_free[_configuration(row)], row)
            for row in group.rows
            if row.result.artifact.calibrated and _configuration(row) in data_free
        ]
    return make_table(COLUMNS, cells)


def interval_words(bounds: tuple[float, float] | None) -> str | None:
    """The bounds of a 95% interval as words; None if there are none."""
    return None if bounds is None else f"{number(bounds[0])} to {number(bounds[1])}"


def _cells(before: Row[Eval], after: Row[Eval]) -> tuple[Cell, ...]:
    a, b = before.result, after.result
    change = judge_quality(a, b)
    of = change.difference / a.kl.mean if a.kl.mean >= LEAST_NATS else None
    return (
        b.artifact.model, str(b.text.get("name", "")), b.artifact.profile,
        _estimate(a.kl.mean, a.kl.interval), _estimate(b.kl.mean, b.kl.interval),
        _estimate(change.difference, change.interval), None if of is None else f"{of:+.1%}",
        change.verdict,
        b.environment.device, Badge(str(b.environment.evidence)), b.reference.get("name", ""),
        b.environment.backend, after.machine_name,
    )  # fmt: skip


def _estimate(value: float, interval: tuple[float, float] | None) -> str:
    words = interval_words(interval)
    return f"{number(value)} ({words})" if words else number(value)


def _configuration(row: Row[Eval]) -> tuple[object, ...]:
    environment = row.result.environment
    return (
        row.result.artifact.profile, environment.target, environment.backend, environment.device,
        environment.evidence, machine_identity(row.machine),
    )  # fmt: skip
