"""The table of evaluations of models that embed or rerank."""

from __future__ import annotations

from collections.abc import Iterable

from qdeploy.report.data.rows import Row
from qdeploy.report.data.table import Badge, Cell, Column, Table, make_table, megabytes
from qdeploy.results import EncodingEval

COLUMNS = (
    "model", "device", "evidence", "profile", Column("bundle", "MB"), "cosine, mean",
    "cosine, smallest", "score difference, mean", "score difference, largest", "rank correlation",
    Column("same first document", "%"), "gate", "failures", "reference", "text", "linear weights",
    "target", "backend", "machine",
)  # fmt: skip


def encoding_table(rows: Iterable[Row[EncodingEval]]) -> Table:
    """One row for each evaluation, in the order of the files."""
    return make_table(COLUMNS, [_cells(row) for row in rows])


def _cells(row: Row[EncodingEval]) -> tuple[Cell, ...]:
    r = row.result
    gate = Badge("failed") if r.failures else Badge("ok") if r.thresholds else None
    environment, cosine, difference = r.environment, r.cosine, r.score_difference
    return (
        r.artifact.model, environment.device, Badge(str(environment.evidence)), r.artifact.profile,
        megabytes(r.artifact.bundle_bytes),
        cosine.mean if cosine else None, cosine.min if cosine else None,
        difference.mean if difference else None, difference.max if difference else None,
        r.rank_correlation, 100 * r.top1_agreement, gate, "; ".join(r.failures),
        r.reference.get("name"), str(r.text.get("name", "")), r.artifact.weights,
        environment.target, environment.backend, row.machine_name,
    )  # fmt: skip
