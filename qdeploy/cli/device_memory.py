"""The memory of a plan on devices that share its layers, where a format's is planned by layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.cli import output

if TYPE_CHECKING:
    from qdeploy.planning.device_memory import DeviceMemory, Model
    from qdeploy.planning.plan import Plan


def spread(plan: Plan, count: int | None) -> tuple[DeviceMemory, ...]:
    """What each of *count* devices of one size takes; None is one. Empty where it is not planned.

    Raises:
        InputError: the format is not split, or there are more devices than layers.
    """
    from qdeploy.errors import InputError
    from qdeploy.planning.formats import SAFETENSORS
    from qdeploy.planning.profile import profiles_of
    from qdeploy.planning.split import balanced, check_count

    model = _model(plan)
    if model is None:
        if count is None:
            return ()
        others = [p.name for p in profiles_of(plan.target.name) if p.format == SAFETENSORS.name]
        raise InputError(
            f"models of the format {plan.format} run on one device",
            fix=" or ".join(["leave out --split", *(f"--profile {name}" for name in others)]),
        )
    check_count(model, count or 1)
    return balanced(model, [1] * (count or 1), plan.context)


def longest_context(plan: Plan, memory_bytes: int, count: int | None) -> int:
    """The longest context on *count* devices with this memory each, in tokens; 0 for none."""
    from qdeploy.planning import split

    model = _model(plan)
    if model is None:
        return plan.longest_context(memory_bytes)
    return split.longest_context(model, [memory_bytes] * (count or 1))


def lines(parts: Sequence[DeviceMemory]) -> list[str]:
    """A line for each device."""
    return [
        f"{output.size(part.needed)} for layers {part.first} to {part.last}: weights "
        f"{output.size(part.weights)}, cache {output.size(part.cache)}, "
        f"a pass {output.size(part.workspace + part.tables)}"
        for part in parts
    ]


def _model(plan: Plan) -> Model | None:
    """What is held of the plan; None for other formats and unknown architectures."""
    from qdeploy.planning.device_memory import of_plan
    from qdeploy.planning.formats import SAFETENSORS

    known = plan.format_row == SAFETENSORS and plan.checkpoint.is_known
    return of_plan(plan) if known else None
