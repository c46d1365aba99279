"""The plans of all tensors that a bundle stores, from the weights that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.sources.base import Weight
from qdeploy.planning import stored
from qdeploy.planning.formats import Format
from qdeploy.planning.profile import Profile
from qdeploy.planning.tensor_spec import TensorPlan, plan_tensor, precisions
from qdeploy.quantization.precision import Precision
from qdeploy.targets import Target


def plan_tensors(
    checkpoint: Checkpoint,
    profile: Profile,
    target: Target,
    linear: Precision,
    row: Format,
    *,
    requantize: bool,
) -> tuple[TensorPlan, ...]:
    """Plan every weight, and the lm_head where the format unties it from the embedding.

    *linear* is the precision of linear weights at the model's size.

    Raises:
        PlanError: stored codes cannot be kept, or no group divides a weight's rows.
    """
    plans = [
        _plan_weight(weight, checkpoint, profile, target, linear, row, requantize=requantize)
        for weight in checkpoint.weights
    ]
    if row.unties_head and checkpoint.task.generates and checkpoint.is_tied:
        plans += _heads(plans, checkpoint.head, profile, linear, row)
    return tuple(plans)


def _plan_weight(
    weight: Weight,
    checkpoint: Checkpoint,
    profile: Profile,
    target: Target,
    linear: Precision,
    row: Format,
    *,
    requantize: bool,
) -> TensorPlan:
    """Plan one weight: with the codes that are stored, or with the profile's precision.

    Raises:
        PlanError: the codes cannot be kept, or no group divides its rows.
    """
    described = checkpoint.described[weight.name]
    wanted = precisions(profile, linear)[described.role]
    codes = None if requantize else stored.kept_source(weight, checkpoint, wanted)
    if codes is None:
        return plan_tensor(weight.name, described, profile, linear, row)
    task = checkpoint.task.name
    if reason := stored.why_not_kept(weight, codes, described, profile, target, task):
        raise stored.refuse(weight, codes, target, reason)
    return stored.plan_kept(weight, described, profile, row)


def _heads(
    plans: Iterable[TensorPlan], name: str, profile: Profile, linear: Precision, row: Format
) -> list[TensorPlan]:
    """The tied lm_head *name*, if it is another form of the embedding than the embedding's own.

    An embedding whose codes are kept is the lm_head, too: its maker rounded it for both.
    """
    found = []
    for embedding in plans:
        if embedding.role == "embedding" and not embedding.scheme:
            described = Tensor(embedding.shape, "lm_head")
            head = plan_tensor(name, described, profile, linear, row)
            if head.precision != embedding.precision:
                found.append(replace(head, reads=embedding.name))
    return found
