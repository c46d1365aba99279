"""The key of an export, by which a run resumes what another one of the same key left."""

from __future__ import annotations

from qdeploy.interface import Exporter
from qdeploy.planning.plan import Plan
from qdeploy.storage.hashing import data_sha256
from qdeploy.system import info


def work_key(plan: Plan, exporter: Exporter) -> str:
    """Return the key of an export, 16 hex digits of a hash over all that decides its bytes.

    Weights count by size and modification time, which every write changes: hashing the weights of
    a large model before the export would take minutes.
    """
    files = []
    for _, file in sorted(plan.files().items()):
        status = file.stat()
        place = str(file.resolve())
        files.append([place, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    versions = tools(exporter, plan.format)
    profile = plan.profile.model_dump_json()
    task = plan.task.model_dump_json()
    calibration = plan.calibration.deciding() if plan.calibration else None
    chosen = {t.name: str(t.precision) for t in plan.tensors if t.chosen}
    return data_sha256(
        files, profile, plan.context, task, exporter.name, versions, plan.requantize, calibration,
        chosen,
    )[:16]  # fmt: skip


def tools(exporter: Exporter, format: str) -> dict[str, str]:
    """Return versions by distribution, of those that are installed."""
    return info.versions(("qdeploy", *exporter.requires(format)))
