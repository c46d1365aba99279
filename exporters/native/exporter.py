"""`NativeExporter`: the contract of `qdeploy.interface.Exporter`, without any framework."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from qdeploy.errors import ExportFailed, QdeployError
from qdeploy.exporters.native import config, memory, stream
from qdeploy.exporters.native.journal import Journal
from qdeploy.exporters.native.openvino import files
from qdeploy.interface import SCRATCH, Exporter, Progress
from qdeploy.plan import Plan, TensorPlan, is_qwen3
from qdeploy.profile import PER_CHANNEL
from qdeploy.tensors import read_json


class NativeExporter(Exporter):
    """Writes the graph from qdeploy's own description of Qwen3; needs NumPy and nothing else."""

    name = "native"
    formats = ("openvino",)
    requires = ("numpy",)
    resumes = True

    def why_not(self, plan: Plan) -> str | None:
        checkpoint = plan.checkpoint
        if plan.format not in self.formats:
            return f"it writes {', '.join(self.formats)}, not {plan.format}"
        if not is_qwen3(checkpoint):
            return f"it knows Qwen3 only, not {checkpoint.config.name}; --exporter optimum may"
        if reason := config.why_not(read_json(checkpoint.folder / "config.json")):
            return reason
        if any(t.precision.dtype == "nf4" for t in plan.tensors):
            return "it does not write nf4; --exporter optimum does"
        if odd := next((t for t in plan.tensors if _ends_within_a_byte(t)), None):
            return f"the four-bit codes of {odd.name} end within a byte; use int8"
        return None

    def peak_memory_bytes(self, plan: Plan) -> int:
        return memory.peak_bytes(plan)

    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        from qdeploy import weights

        weights.check(plan.checkpoint)
        _check_disk(plan, folder)
        scratch = folder / SCRATCH
        try:
            progress.stage("converting the tokenizer")
            files.write_tokenizer(plan, folder)
            progress.stage("describing the model")
            blob, target = files.write_graph(plan, config.read(plan), folder)
            layout = hashlib.sha256(target.with_suffix(".xml").read_bytes()).hexdigest()
            progress.stage("quantizing and writing the weights")
            journal = Journal(scratch / "journal.json", layout)
            with weights.open_source(plan.checkpoint, adapter=plan.adapter) as source:
                stream.write(blob, source, target, journal, progress.written)
        except QdeployError:
            # the same input would fail again, so what there is of it is worth nothing
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _ends_within_a_byte(tensor: TensorPlan) -> bool:
    """Whether the next expert of a stack would begin in the middle of a byte."""
    if tensor.precision.bits != 4 or ".experts." not in tensor.name:
        return False
    rows, columns = tensor.shape
    size = tensor.precision.group_size
    groups = 1 if size == PER_CHANNEL else columns // size
    return rows % 2 == 1 and (
        columns % 2 == 1 or (not tensor.precision.symmetric and groups % 2 == 1)
    )


def _check_disk(plan: Plan, folder: Path) -> None:
    """Check that the bundle has room, with the largest tensor to spare.

    Raises:
        ExportFailed: with what is needed and what there is.
    """
    # the file of weights has holes where nothing is written yet; not every system counts blocks
    status = (p.stat() for p in folder.rglob("*") if p.is_file())
    here = sum(getattr(s, "st_blocks", 0) * 512 for s in status)
    needed = plan.bundle_bytes + max(t.nbytes for t in plan.tensors) - here
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportFailed(
            f"the export needs {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free",
            where=folder.parent,
            fix="free space, or another -o DIR",
        )
