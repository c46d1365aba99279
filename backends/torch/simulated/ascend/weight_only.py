"""Float inputs, int8 or int4 weights: `npu_weight_quant_batchmatmul`."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.ascend.packing import unpack
from qdeploy.backends.torch.simulated.ascend.products import INFERENCE, require_axes
from qdeploy.backends.torch.simulated.checks import name, require, told
from qdeploy.backends.torch.simulated.chips import Chip
from qdeploy.backends.torch.simulated.unpacked import once

PRODUCT = "npu_weight_quant_batchmatmul"
GROUP_STEP = 32


def weight_quant_batchmatmul(
    chip: Chip, x: Any, weight: Any, antiquant_scale: Any, antiquant_offset: Any = None,
    quant_scale: Any = None, quant_offset: Any = None, bias: Any = None,
    antiquant_group_size: int = 0, inner_precise: int = 0, weight_dtype: int | None = None,
) -> Any:  # fmt: skip
    """Multiply x [M, K] by (codes [K, N] + offset) * scale, and add the bias; of x's type [M, N].

    The weight is int8 [K, N], or int4 packed along either axis, and may be transposed. Scales and
    offsets are of x's type: [1] or [1, 1] for the weight, [N] or [1, N] for columns, or
    [K / group, N], K rounded up, for groups.
    """
    import torch

    old = chip.product == INFERENCE
    floats = (torch.float16,) if old else (torch.float16, torch.bfloat16)
    kinds = (torch.int8,) if old else (torch.int8, torch.int32)
    require(
        x.dim() == 2 and x.dtype in floats, PRODUCT,
        f"x is a matrix of {' or '.join(map(name, floats))} on {chip.product}, got {told(x)}",
    )  # fmt: skip
    require(
        weight.dim() == 2 and weight.dtype in kinds, PRODUCT,
        f"weight is a matrix of {' or '.join(map(name, kinds))} on {chip.product}, got "
        f"{told(weight)}",
    )  # fmt: skip
    require(
        quant_scale is None and quant_offset is None and weight_dtype is None, PRODUCT,
        "the simulation has results of x's type only",
    )  # fmt: skip
    packed = weight.dtype == torch.int32
    codes = once(lambda: unpack(weight), weight) if packed else weight
    (rows, columns), count = x.shape, codes.shape[1]
    require(
        codes.shape[0] == columns and rows > 0, PRODUCT,
        f"x {told(x)} does not go with a weight [{codes.shape[0]}, {count}]",
    )  # fmt: skip
    require_axes(PRODUCT, columns, count)
    shapes = _shapes(chip, antiquant_group_size, columns, count)
    for what, tensor in (
        ("antiquant_scale", antiquant_scale),
        ("antiquant_offset", antiquant_offset),
    ):
        require(
            tensor is None or (tensor.dtype == x.dtype and tuple(tensor.shape) in shapes), PRODUCT,
            f"{what} is {name(x.dtype)}, {' or '.join(str(list(s)) for s in shapes)}, got "
            f"{told(tensor)}",
        )  # fmt: skip
    require(
        antiquant_offset is None or antiquant_offset.shape == antiquant_scale.shape, PRODUCT,
        "antiquant_scale and antiquant_offset have one shape",
    )  # fmt: skip
    values = codes.float()
    if antiquant_offset is not None:
        values = values + _spread(antiquant_offset, antiquant_group_size, columns)
    values = values * _spread(antiquant_scale, antiquant_group_size, columns)
    made = x.float() @ values
    if bias is not None:
        wanted = torch.float32 if x.dtype == torch.bfloat16 else torch.float16
        require(
            bias.dtype == wanted and tuple(bias.shape) in ((1,), (count,), (1, count)), PRODUCT,
            f"bias is {name(wanted)} [1], [N] or [1, N] for x of {name(x.dtype)}, got {told(bias)}",
        )  # fmt: skip
        made = made + bias.float()
    return made.to(x.dtype)


def _shapes(chip: Chip, group: int, columns: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Shapes that scales may have."""
    if not group:
        return (1,), (1, 1), (count,), (1, count)
    require(chip.product != INFERENCE, PRODUCT, f"there are no groups on {chip.product}")
    require(
        GROUP_STEP <= group < columns and group % GROUP_STEP == 0, PRODUCT,
        f"antiquant_group_size {group} is no multiple of 32 within 32 to K - 1 = {columns - 1}",
    )  # fmt: skip
    return ((-(-columns // group), count),)


def _spread(tensor: Any, group: int, columns: int) -> Any:
    """A value for each row of the weight: [K, N], or what broadcasts to it."""
    return tensor.float().repeat_interleave(group, 0)[:columns] if group else tensor.float()
