"""`OptimumExporter`: implements `qdeploy.interface.Exporter` with worker processes."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from qdeploy.architectures.config import rope_type
from qdeploy.errors import Refusal, TargetUnavailable
from qdeploy.exporters.optimum import memory, passes
from qdeploy.exporters.optimum.job import SCRATCH, jobs
from qdeploy.exporters.optimum.steps import run_step
from qdeploy.interface import Exporter, Progress
from qdeploy.interface.exporter import NO_CALIBRATION
from qdeploy.planning.formats import OPENVINO
from qdeploy.planning.plan import Plan

LIBRARIES = (
    "optimum-intel", "nncf", "openvino", "openvino-tokenizers", "torch", "transformers",
)  # fmt: skip
ROPE_TYPES = (
    None, "default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional",
)  # fmt: skip
"""Keys of `ROPE_INIT_FUNCTIONS` in transformers' modeling_rope_utils.py, and no scaling."""


class OptimumExporter(Exporter):
    """Exports any causal language model that optimum-intel supports to OpenVINO."""

    name = "optimum"
    formats = (OPENVINO.name,)

    def requires(self, format: str) -> tuple[str, ...]:
        return LIBRARIES

    def why_not(self, plan: Plan) -> Refusal | None:
        config = plan.checkpoint.config
        if plan.format not in self.formats:
            return Refusal(f"it writes {OPENVINO.name}, not {plan.format}")
        if plan.calibration:
            return Refusal(NO_CALIBRATION)
        if not plan.task.generates:
            return Refusal(f"the model is to {plan.task.name}, not to generate")
        if not config.name.endswith("ForCausalLM"):
            return Refusal(f"{config.name} is not a causal language model", "give it one that is")
        if config.quantization_config is not None:
            method = config.quantization_config.get("quant_method", "quantized")
            return Refusal(f"the checkpoint's weights are {method} already")
        if (kind := rope_type(config.rope_scaling)) not in ROPE_TYPES:
            return Refusal(f"transformers scales no positions as {kind!r} (rope_scaling)")
        if name := plan.checkpoint.wrapped:
            return Refusal(f"transformers knows no weight by the name {name}")
        if plan.checkpoint.adapter is not None:
            return Refusal("it merges no adapters")
        if plan.rope_scaling != config.rope_scaling:
            reason = f"it cannot extend the context to {plan.context}"
            return Refusal(reason)
        refused = ((t, passes.why_not(t.precision)) for t in plan.tensors)
        return next(
            (
                Refusal(reason, f"set {t.key}.group_size = -1 in the profile")
                for t, reason in refused
                if reason
            ),
            None,
        )

    def peak_memory_bytes(self, plan: Plan) -> int:
        return memory.peak_bytes(plan)

    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        self._check_installed()
        scratch = folder / SCRATCH
        scratch.mkdir()
        for job in jobs(plan, folder, self.peak_memory_bytes(plan)):
            run_step(job, progress.stage, lambda: progress.written(_bytes_in(folder)))
        shutil.rmtree(scratch)
        progress.written(_bytes_in(folder))

    def _check_installed(self) -> None:
        missing = [name for name in LIBRARIES if not _is_installed(name)]
        if missing:
            raise TargetUnavailable(
                f"not installed: {', '.join(missing)}", "pip install 'qdeploy[optimum]'"
            )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _bytes_in(folder: Path) -> int:
    """Return the bytes of the files directly in *folder*; the scratch directory is not counted."""
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())
