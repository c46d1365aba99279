"""The job of a worker process: one step of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from qdeploy.planning.formats import OPENVINO
from qdeploy.planning.plan import Plan
from qdeploy.quantization.precision import Precision
from qdeploy.storage.toml_file import Strict

Step = Literal["trace", "quantize"]
STEPS: tuple[Step, ...] = ("trace", "quantize")
"""In order. Each has its own process, so the memory of tracing is freed before quantizing."""

SCRATCH = "scratch"
"""Directory in the bundle for intermediate files; it is deleted at the end."""


class Matrix(Strict):
    """A weight matrix of the checkpoint and its planned precision. Shape: rows, columns."""

    name: str
    shape: tuple[int, ...]
    precision: Precision


class Job(Strict):
    """One step of an export.

    Attributes:
        folder: the bundle being written. Paths are absolute, since a worker has another directory.
        kv_cache: the profile's element type of the key-value cache.
        memory_bytes: predicted peak of the export, for error messages.
        matrices: every tensor of the plan with two dimensions or more.
    """

    step: Step
    checkpoint: Path
    folder: Path
    architecture: str
    model_type: str
    kv_cache: str
    memory_bytes: int
    matrices: tuple[Matrix, ...]

    @property
    def scratch(self) -> Path:
        return self.folder / SCRATCH

    @property
    def float_model(self) -> Path:
        """The traced graph, before quantization."""
        return self.scratch / OPENVINO.files["model"]

    @property
    def model(self) -> Path:
        return self.folder / OPENVINO.files["model"]


def matrices(plan: Plan) -> tuple[Matrix, ...]:
    """Return the tensors of *plan* with two dimensions or more."""
    return tuple(
        Matrix(name=t.name, shape=t.shape, precision=t.precision)
        for t in plan.tensors
        if len(t.shape) > 1
    )


def jobs(plan: Plan, folder: Path, memory_bytes: int) -> list[Job]:
    """Return the steps that carry out *plan*, in order."""
    config = plan.checkpoint.config
    return [
        Job(
            step=step,
            checkpoint=plan.checkpoint.folder.absolute(),
            folder=folder.absolute(),
            architecture=config.name,
            model_type=config.model_type,
            kv_cache=plan.profile.kv_cache.dtype,
            memory_bytes=memory_bytes,
            matrices=matrices(plan),
        )
        for step in STEPS
    ]
