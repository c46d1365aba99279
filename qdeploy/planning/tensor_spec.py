"""The plan of one tensor: its role, and the precision that the profile gives to that role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from qdeploy.architectures.tensors import Role, Tensor
from qdeploy.checkpoint.sources.codes import REQUANTIZE
from qdeploy.errors import PlanError
from qdeploy.planning.formats import Format, stored_bytes
from qdeploy.planning.profile import Profile
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType

SMALLEST_GROUP = 32
"""A smaller fallback group would cost more bytes of scales than int8 per channel."""
FLOAT = Precision(dtype="fp16")
CALIBRATED = " (calibrated)"
"""What labels of calibrated weights end with."""


@dataclass(frozen=True)
class TensorPlan:
    """How one tensor is stored.

    Attributes:
        expert: whether it belongs to one of a layer's experts, of which a token uses a few.
        precision: after the fallback for rows that the group size does not divide.
        nbytes: predicted bytes in the bundle, including scales and zero points.
        scheme: the quantization method whose codes are kept as the checkpoint stores them; None
            where the exporter rounds.
        scales: type of the scales: that of kept ones, float16 of codes, float32 of FP8.
        reads: the checkpoint's weight that it is another form of; None where it is that weight.
        calibrated: whether calibration chooses the codes, and not the exporter's rounding.
        chosen: whether the precision was chosen for this weight; else the profile gives it.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    precision: Precision
    nbytes: int
    expert: bool = False
    scheme: str | None = None
    scales: ScaleType = "float16"
    reads: str | None = None
    calibrated: bool = False
    chosen: bool = False

    @property
    def source(self) -> str:
        """Name of the checkpoint's weight that its values are read from."""
        return self.reads or self.name

    @property
    def parameters(self) -> int:
        """The model's parameters in it; none in another form of a weight that is stored, too."""
        return 0 if self.reads else prod(self.shape)

    @property
    def takes_codes(self) -> bool:
        """Whether its codes are taken as they are, kept or calibrated, and not rounded anew."""
        return self.scheme is not None or self.calibrated

    @property
    def label(self) -> str:
        """The precision, and where codes are from: `int4 asym g128 (as stored, awq)`."""
        if self.scheme:
            return f"{self.precision} (as stored, {self.scheme})"
        return f"{self.precision}{CALIBRATED if self.calibrated else ''}"

    def fix(self, otherwise: str) -> str:
        """What to do where it cannot be written: *otherwise*, where the profile decides."""
        return REQUANTIZE if self.scheme else otherwise

    @property
    def key(self) -> str:
        """The key of the profile that sets its precision."""
        return f"weights.{self.role}"


def precisions(profile: Profile, linear: Precision) -> Mapping[Role, Precision]:
    """The profile's precision by role, before any fallback."""
    weights = profile.weights
    return {
        "linear": linear,
        "norm": FLOAT,
        "bias": FLOAT,
        "score": FLOAT,
        "embedding": weights.embedding,
        "lm_head": weights.lm_head,
        "router": weights.router,
    }


def plan_tensor(
    name: str, tensor: Tensor, profile: Profile, linear: Precision, format: Format
) -> TensorPlan:
    """Plan one tensor.

    Args:
        name: its name in the checkpoint.
        tensor: its shape and role.
        profile: gives each role its precision.
        linear: the precision of linear weights at the model's size.
        format: the row of the bundle format.

    Raises:
        PlanError: the group does not divide its rows, and the profile allows no fallback.
    """
    shape, role, expert = tensor
    wanted = precisions(profile, linear)[role]
    # no layer has a scalar: it is refused with all other wrong shapes, when weights are checked
    precision = _fit(wanted, name, shape, profile) if shape else FLOAT
    planned = TensorPlan(name, shape, role, precision, 0, expert)
    return _sized(planned, profile, format)


def with_precision(
    tensor: TensorPlan, precision: Precision, profile: Profile, format: Format
) -> TensorPlan:
    """The same weight, rounded to a *precision* that was chosen for it."""
    return _sized(replace(tensor, precision=precision, chosen=True), profile, format)


def _sized(tensor: TensorPlan, profile: Profile, format: Format) -> TensorPlan:
    """A weight that the exporter rounds, with its scales and its size."""
    scales: ScaleType = "float32" if tensor.precision.dtype == "fp8" else "float16"
    storage = format.storage(profile.graph).with_scales(scales)
    size = stored_bytes(tensor.shape, tensor.precision, storage)
    return replace(tensor, nbytes=size, scales=scales)


def _fit(wanted: Precision, name: str, shape: tuple[int, ...], profile: Profile) -> Precision:
    """Apply the profile's fallback where the group does not divide the row."""
    if wanted.group_size == PER_CHANNEL:
        return wanted
    columns = shape[-1]
    if columns % wanted.group_size == 0:
        return wanted
    if profile.weights.group_fallback == "error":
        raise PlanError(
            f"group size {wanted.group_size} does not divide the {columns} columns",
            where=name,
            fix='set weights.group_fallback = "smaller", or another group_size',
        )
    group = wanted.group_size
    while group >= SMALLEST_GROUP:
        if columns % group == 0:
            return wanted.model_copy(update={"group_size": group})
        group //= 2
    return Precision(dtype="int8")
