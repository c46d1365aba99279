"""Which weights of a plan are calibrated.

Codes that a checkpoint stores are left alone: their maker has chosen them with data already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qdeploy.errors import PlanError
from qdeploy.planning.profile import Profile
from qdeploy.planning.tensor_spec import TensorPlan

DTYPES, HEAD_DTYPES = ("int4", "int8"), ("int4",)
"""Types of codes that are calibrated, of linear weights and of the vocabulary head."""


def mark_calibrated(
    tensors: Sequence[TensorPlan], model: str, profile: Profile, rounded: str, *, tied: bool
) -> tuple[TensorPlan, ...]:
    """The same plans, those of weights that are rounded here with data marked as calibrated.

    They are the linear weights, and a vocabulary head of four bits: one of eight loses too little.

    Args:
        tensors: every tensor's plan.
        model: the checkpoint's name, for errors.
        profile: whose table or whose user asks for it.
        rounded: dtype of linear weights by the profile.
        tied: whether the embedding makes logits, too, unless a head is planned.

    Raises:
        PlanError: there is nothing to calibrate.
    """
    head = "embedding" if tied and not any(t.role == "lm_head" for t in tensors) else "lm_head"
    marked = tuple(replace(t, calibrated=_is_calibrated(t, head)) for t in tensors)
    if any(t.calibrated for t in marked):
        return marked
    without = leave_out(profile)
    kept = sorted({t.scheme for t in marked if t.role == "linear" and t.scheme})
    if kept:
        again = ", or add --requantize" if rounded in DTYPES else ""
        raise PlanError(
            f"nothing to calibrate: its weights are quantized already, by {' and '.join(kept)}, "
            "and their codes are kept as they are stored",
            where=model,
            fix=f"{without}{again}",
        )
    raise PlanError(
        f"nothing to calibrate: the profile {profile.name!r} stores linear weights as {rounded}, "
        f"and only those in {' and '.join(DTYPES)} are calibrated",
        where=model,
        fix=f"{without}, or give a --profile of {' or '.join(DTYPES)}",
    )


def _is_calibrated(tensor: TensorPlan, head: str) -> bool:
    dtypes = {"linear": DTYPES, head: HEAD_DTYPES}.get(tensor.role, ())
    return not tensor.scheme and tensor.precision.dtype in dtypes


def leave_out(profile: Profile) -> str:
    """How a user exports without calibration, as a fix."""
    return "leave --calibrate out" if profile.calibration is None else "add --no-calibrate"
