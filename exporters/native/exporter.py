"""`NativeExporter`: the contract of `qdeploy.interface.Exporter`, without any framework."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.architectures.table import known_classes
from qdeploy.errors import ExportFailed, QdeployError, Refusal, TargetUnavailable
from qdeploy.exporters.native import memory
from qdeploy.exporters.native.format import ExportLayout, FormatWriter
from qdeploy.exporters.native.onnx.format import OnnxFormat
from qdeploy.exporters.native.onnx_static.format import StaticFormat
from qdeploy.exporters.native.openvino.format import OpenVINOFormat
from qdeploy.exporters.native.safetensors.format import SafetensorsFormat
from qdeploy.exporters.native.weights_file import writer
from qdeploy.exporters.native.weights_file.journal import Journal
from qdeploy.interface import SCRATCH, Exporter, Progress
from qdeploy.planning.plan import Plan
from qdeploy.storage.atomic import ELSEWHERE
from qdeploy.storage.sizes import size

if TYPE_CHECKING:
    from qdeploy.checkpoint.weights import WeightReader

WRITERS: dict[str, FormatWriter] = {
    f.format.name: f for f in (OpenVINOFormat(), OnnxFormat(), StaticFormat(), SafetensorsFormat())
}


class NativeExporter(Exporter):
    """Builds the graph from the family's description in `qdeploy.architectures`; no framework."""

    name = "native"
    formats = tuple(WRITERS)
    resumes = True
    calibrates = True

    def requires(self, format: str) -> tuple[str, ...]:
        return ("numpy", *WRITERS[format].tools)

    def why_not(self, plan: Plan) -> Refusal | None:
        checkpoint = plan.checkpoint
        if plan.format not in self.formats:
            return Refusal(f"it writes {', '.join(WRITERS)}, not {plan.format}")
        if not checkpoint.is_known:
            known = ", ".join(known_classes())
            return Refusal(f"it knows {known}, not {checkpoint.config.name}")
        if reason := checkpoint.decoder.why_not():
            return Refusal(reason)
        chosen = WRITERS[plan.format]
        strange = (t for t in plan.tensors if t.precision.dtype not in chosen.dtypes)
        if (one := next(strange, None)) is not None:
            return Refusal(f"it does not write {one.precision.dtype} in the format {plan.format}")
        return chosen.why_not(plan)

    def peak_memory_bytes(self, plan: Plan) -> int:
        return memory.peak_bytes(plan, tables=WRITERS[plan.format].tables)

    def config_changes(self, plan: Plan) -> Mapping[str, Any]:
        return WRITERS[plan.format].config_changes(plan)

    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        from qdeploy.calibration.codes import open_planned_weights
        from qdeploy.checkpoint.weights import check_weights

        chosen = WRITERS[plan.format]
        _check_installed(chosen)
        check_weights(plan.checkpoint)
        _check_disk(plan, folder)
        scratch = folder / SCRATCH
        try:
            progress.stage("converting the tokenizer")
            chosen.write_tokenizer(plan, folder)
            progress.stage("describing the model")
            config = plan.checkpoint.graph(plan.rope_scaling)
            model = chosen.write_graph(plan, config, folder)
            progress.stage("quantizing and writing the weights")
            with open_planned_weights(plan) as source:
                _write_weights(model, source, scratch, progress)
        except QdeployError:
            # the same input would fail again, so nothing of the partial export can be resumed
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _write_weights(
    model: ExportLayout, source: WeightReader, scratch: Path, progress: Progress
) -> None:
    """Write each file of weights in turn, with a journal of its own."""
    fingerprint, before = _fingerprint(model), 0
    for file, layout in model.weights.items():
        journal = Journal(scratch / f"{file.name}.json", fingerprint)
        writer.write(layout, source, file, journal, _offset(progress.written, before))
        before += layout.size


def _offset(report: Callable[[int], None], before: int) -> Callable[[int], None]:
    """A *report* that adds the bytes of the files before this one."""
    return lambda written: report(before + written)


def _fingerprint(model: ExportLayout) -> str:
    """Hash of the graphs and of the place and form of every weight.

    Equal hashes mean equal layouts and equal bytes.
    """
    total = hashlib.sha256()
    for graph in model.graphs:
        total.update(graph.read_bytes())
    for layout in model.weights.values():
        for weight in layout.weights:
            total.update(repr(weight).encode())
    return total.hexdigest()


def _check_installed(writer: FormatWriter) -> None:
    missing = [name for name in writer.tools if find_spec(name) is None]
    if missing:
        raise TargetUnavailable(
            f"the format {writer.format.name} is written with {', '.join(missing)}, "
            "not installed here",
            f"pip install 'qdeploy[{missing[0]}]'",
        )


def _check_disk(plan: Plan, folder: Path) -> None:
    """Check that the disk has room for the bundle and one more of its largest tensor.

    Raises:
        ExportFailed: with the bytes that are needed and those that are free.
    """
    # the weights file is sparse until it is written; not every system counts its blocks
    status = (p.stat() for p in folder.rglob("*") if p.is_file())
    here = sum(getattr(s, "st_blocks", 0) * 512 for s in status)
    needed = plan.bundle_bytes + max(t.nbytes for t in plan.tensors) - here
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportFailed(
            f"the export needs {size(needed)} of disk, and {size(free)} are free",
            where=folder.parent,
            fix=f"free space, or {ELSEWHERE}",
        )
