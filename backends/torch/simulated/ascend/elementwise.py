"""Norm, activation and rotation."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.ascend.products import A2_A3, INFERENCE, require_product
from qdeploy.backends.torch.simulated.checks import require, told
from qdeploy.backends.torch.simulated.chips import Chip

NORM = "npu_rms_norm"
ACTIVATION = "npu_swiglu"
ROTATION = "npu_rotary_mul"
MOST_DIMENSIONS = 8
LARGEST_HEAD = 896
HEAD_OF_310P = 128
LARGEST_SHARED = 1000
"""The batch and the heads, which share tables, are fewer."""


def rms_norm(chip: Chip, x: Any, gamma: Any, epsilon: float = 1e-6) -> tuple[Any, Any]:
    """Divide by the root mean square over gamma's axes, the last ones, and multiply by gamma.

    The second result is the reciprocal of that root, float32.
    """
    _check_floats(NORM, x)
    require(
        2 <= x.dim() <= MOST_DIMENSIONS and gamma.dtype == x.dtype
        and x.shape[x.dim() - gamma.dim() :] == gamma.shape, NORM,
        f"gamma is of x's type and of its last axes, got x {told(x)}, gamma {told(gamma)}",
    )  # fmt: skip
    axes = tuple(range(-gamma.dim(), 0))
    values = x.float()
    reciprocal = (values.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    return (values * reciprocal * gamma.float()).to(x.dtype), reciprocal


def swiglu(chip: Chip, x: Any, dim: int = -1) -> Any:
    """Give silu(a) * b, a and b being the halves of x along an axis."""
    import torch

    require_product(chip, ACTIVATION, A2_A3)
    _check_floats(ACTIVATION, x)
    require(
        1 <= x.dim() <= MOST_DIMENSIONS and x.shape[dim] % 2 == 0, ACTIVATION,
        f"axis {dim} of {told(x)} has no halves",
    )  # fmt: skip
    gate, up = x.float().chunk(2, dim)
    return (torch.nn.functional.silu(gate) * up).to(x.dtype)


def rotary_mul(
    chip: Chip, x: Any, r1: Any, r2: Any, rotary_mode: str = "half", rotate: Any = None
) -> Any:
    """Rotate heads: x * r1 + (the halves swapped, the second one negative) * r2.

    It takes four axes, whose last is the head's; the tables are r1 and r2, of x's type, with axes
    of one for those that share values: the batch and the heads.
    """
    import torch

    _check_floats(ROTATION, x)
    require(
        rotary_mode == "half" and rotate is None, ROTATION, "the simulation rotates halves only"
    )
    require(x.dim() == 4, ROTATION, f"expected four axes, got {told(x)}")
    size = x.shape[-1]
    require(
        size % 2 == 0 and size < LARGEST_HEAD, ROTATION, f"heads of {size} are not even or < 896"
    )
    require(
        chip.product != INFERENCE or size == HEAD_OF_310P, ROTATION,
        f"{chip.product} rotates heads of 128 only, not of {size}",
    )  # fmt: skip
    for table in (r1, r2):
        require(
            table.dtype == x.dtype and table.dim() == 4 and table.shape == r1.shape
            and table.shape[-1] == size
            and all(own in (1, full) for own, full in zip(table.shape, x.shape, strict=True)),
            ROTATION, f"tables {told(r1)} and {told(r2)} do not go with {told(x)}",
        )  # fmt: skip
    shared = [full for own, full in zip(r1.shape, x.shape, strict=True) if own < full]
    require(
        all(count < LARGEST_SHARED for count in shared), ROTATION,
        f"batch and heads are below {LARGEST_SHARED}, got {shared}",
    )  # fmt: skip
    first, second = x.float().chunk(2, -1)
    swapped = torch.cat((-second, first), -1)
    return (x.float() * r1.float() + swapped * r2.float()).to(x.dtype)


def _check_floats(operator: str, x: Any) -> None:
    import torch

    floats = (torch.float16, torch.bfloat16, torch.float32)
    require(x.dtype in floats, operator, f"expected float16, bfloat16 or float32, got {told(x)}")
