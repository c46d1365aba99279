"""The plan of one tensor: its role, and the precision that the profile gives to that role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qdeploy.architectures.tensors import Role
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.errors import PlanError
from qdeploy.planning.formats import Format, stored_bytes
from qdeploy.planning.profile import PER_CHANNEL, Precision, Profile

SMALLEST_GROUP = 32
"""A smaller fallback group would cost more bytes of scales than int8 per channel."""
FLOAT = Precision(dtype="fp16")
ROUTER = re.compile(r"\.mlp\.gate\.weight$")


@dataclass(frozen=True)
class TensorPlan:
    """How one tensor is stored.

    Attributes:
        precision: after the fallback for rows that the group size does not divide.
        nbytes: predicted bytes in the bundle, including scales and zero points.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    precision: Precision
    nbytes: int

    @property
    def key(self) -> str:
        """The key of the profile that sets its precision."""
        return f"weights.{self.role}"


def role_of(tensor: TensorInfo) -> Role:
    """What a tensor of an unknown architecture does, guessed from its name and rank."""
    if len(tensor.shape) < 2:
        return "bias" if tensor.name.endswith(".bias") else "norm"
    if "embed_tokens" in tensor.name:
        return "embedding"
    if tensor.name.startswith("lm_head"):
        return "lm_head"
    return "router" if ROUTER.search(tensor.name) else "linear"


def precisions(profile: Profile, linear: Precision) -> Mapping[Role, Precision]:
    """The profile's precision by role, before any fallback."""
    weights = profile.weights
    return {
        "linear": linear,
        "norm": FLOAT,
        "bias": FLOAT,
        "embedding": weights.embedding,
        "lm_head": weights.lm_head,
        "router": weights.router,
    }


def plan_tensor(
    tensor: TensorInfo,
    profile: Profile,
    linear: Precision,
    format: Format,
    *,
    role: Role | None = None,
) -> TensorPlan:
    """Plan one tensor.

    Args:
        tensor: its name, shape and type.
        profile: gives each role its precision.
        linear: the precision of linear weights at the model's size.
        format: the row of the bundle format.
        role: what its family says it does; None guesses from its name.

    Raises:
        PlanError: the group does not divide its rows, and the profile allows no fallback.
    """
    role = role or role_of(tensor)
    precision = _fit(precisions(profile, linear)[role], tensor, profile)
    size = stored_bytes(tensor.shape, precision, format.storage(profile.graph))
    return TensorPlan(tensor.name, tensor.shape, role, precision, size)


def _fit(wanted: Precision, tensor: TensorInfo, profile: Profile) -> Precision:
    """Apply the profile's fallback where the group does not divide the row."""
    if wanted.group_size == PER_CHANNEL:
        return wanted
    columns = tensor.shape[-1]
    if columns % wanted.group_size == 0:
        return wanted
    if profile.weights.group_fallback == "error":
        raise PlanError(
            f"group size {wanted.group_size} does not divide the {columns} columns",
            where=tensor.name,
            fix='set weights.group_fallback = "smaller", or another group_size',
        )
    group = wanted.group_size
    while group >= SMALLEST_GROUP:
        if columns % group == 0:
            return wanted.model_copy(update={"group_size": group})
        group //= 2
    return Precision(dtype="int8")
