"""Weights that a checkpoint stores as integer codes: which a plan keeps, and why not others.

Codes, scales and zero points that are kept reach every format bit for bit. The profile's precision
is for the other weights; with `requantize` it is for these, too. FP8 is kept where the profile asks
for FP8: little was lost by it, and its maker did not choose the codes with data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qdeploy.architectures.task import TaskName
from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.sources.base import Source, Weight
from qdeploy.checkpoint.sources.codes import REQUANTIZE
from qdeploy.errors import PlanError
from qdeploy.planning import constraints
from qdeploy.planning.formats import Format, stored_bytes
from qdeploy.planning.profile import Profile
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import Precision
from qdeploy.targets import Target


def kept_source(weight: Weight, checkpoint: Checkpoint, wanted: Precision) -> Source | None:
    """The source that holds the codes of a weight; None where it is stored as floats.

    It is not the weight's own where an adapter changes that. *wanted* is the profile's precision.
    """
    stored = checkpoint.stored.sources.get(weight.name)
    if not stored or not stored.precision or stored.why_not():
        return None
    floats = stored.precision.dtype == "fp8"
    return None if floats and wanted.dtype != "fp8" else stored


def why_not_kept(
    weight: Weight, stored: Source, tensor: Tensor, profile: Profile, target: Target, task: TaskName
) -> str | None:
    """Why the codes of *stored* cannot go into a bundle as they are, or None if they can."""
    if weight.source is not stored:
        return "an adapter changes this weight"
    if reason := stored.why_not_codes():
        return reason
    precision = stored.precision
    if precision and tensor.role == "linear":
        broken = constraints.broken_by(profile, target, precision, task)
        return broken.reason if broken else None
    return None


def plan_kept(weight: Weight, tensor: Tensor, profile: Profile, format: Format) -> TensorPlan:
    """The plan of a weight whose codes are kept.

    Raises:
        ValueError: the weight has none.
    """
    source = weight.source
    precision = source.precision
    if precision is None:
        raise ValueError(f"{weight.name} has no codes")
    storage = format.storage(profile.graph).with_scales(source.scale_type)
    size = stored_bytes(tensor.shape, precision, storage)
    return TensorPlan(
        weight.name, tensor.shape, tensor.role, precision, size, tensor.expert,
        scheme=method(source), scales=source.scale_type,
    )  # fmt: skip


def method(source: Source) -> str | None:
    """Name of the method whose codes are kept; FP8 has its own name under every method."""
    return source.scheme or (source.precision.dtype if source.precision else None)


def refuse(weight: Weight, stored: Source, target: Target, reason: str) -> PlanError:
    """The error of a plan that cannot keep the codes of a weight."""
    return PlanError(
        f"its codes, {stored.precision} of {method(stored)}, cannot be kept for {target.name}: "
        f"{reason}",
        where=weight.name,
        fix=REQUANTIZE,
    )


def rounded_again(checkpoint: Checkpoint, tensors: Iterable[TensorPlan]) -> list[str]:
    """A warning for each method whose weights are dequantized and then rounded once more."""
    sources = checkpoint.stored.sources
    counts: Counter[str] = Counter()
    for tensor in tensors:
        source = sources.get(tensor.name)
        if source and source.scheme and not tensor.scheme and tensor.precision.dtype != "fp16":
            counts[source.scheme] += 1
    return [
        f"{count} weights are quantized already, by {method}; they are dequantized and rounded "
        "again, and qdeploy eval measures the loss"
        for method, count in sorted(counts.items())
    ]
