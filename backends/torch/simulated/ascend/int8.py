"""int8 inputs, rounded token by token or by given scales, and int8 weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdeploy.backends.torch.simulated.ascend.products import (
    A2_A3,
    INFERENCE,
    require_axes,
    require_product,
)
from qdeploy.backends.torch.simulated.ascend.types import Row, fits, type_of
from qdeploy.backends.torch.simulated.checks import name, require, told
from qdeploy.backends.torch.simulated.chips import Chip

ROUND = "npu_dynamic_quant"
QUANTIZE = "npu_quantize"
PRODUCT = "npu_quant_matmul"
LARGEST = 127


def dynamic_quant(
    chip: Chip, x: Any, *, smooth_scales: Any = None, group_index: Any = None,
    dst_type: int | None = None, quant_mode: str = "pertoken", dst_type_max: float = 0.0,
) -> tuple[Any, Any]:  # fmt: skip
    """Round the rows of x [..., K] to int8, and give their scales, float32 [...].

    A row's scale is its largest magnitude divided by 127.
    """
    import torch

    require_product(chip, ROUND, A2_A3)
    require(
        x.dim() > 1 and x.dtype in (torch.float16, torch.bfloat16), ROUND,
        f"expected float16 or bfloat16 of at least 2 dimensions, got {told(x)}",
    )  # fmt: skip
    require(
        smooth_scales is None and group_index is None and quant_mode == "pertoken"
        and (dst_type is None or type_of(dst_type) == torch.int8), ROUND,
        "the simulation rounds rows to int8 only",
    )  # fmt: skip
    values = x.float()
    scales = values.abs().amax(-1) / LARGEST
    # a row of zeros has a scale of zero, and zeros as codes
    divisor = torch.where(scales > 0, scales, 1.0)[..., None]
    return (values / divisor).round().to(torch.int8), scales


QUANTIZED = {
    True: {"input": "float16 float32", "scales": "float32"},
    False: {"input": "float16 bfloat16 float32", "scales": "float32 bfloat16"},
}
"""Types of `npu_quantize` with `div_mode`, for 310P or not."""
INT8_NUMBERS = (1, 12)
"""torch's numbers of `int8` and of `qint8`."""


def quantize(
    chip: Chip, x: Any, scales: Any, zero_points: Any, dtype: int, axis: int = 1,
    div_mode: bool = True,
) -> Any:  # fmt: skip
    """Divide x by scales along an axis, and round to int8: the scales are [1] or of its size.

    Sources: the wheel's documentation; for the scales' shape and the rounding, that of CANN's
    `aclnnQuantize`, which the operator calls.
    """
    import torch

    require(
        div_mode and zero_points is None and dtype in INT8_NUMBERS, QUANTIZE,
        "the simulation divides by scales and rounds to int8 only, without zero points",
    )  # fmt: skip
    found = {"input": name(x.dtype), "scales": name(scales.dtype)}
    require(
        fits(QUANTIZED[chip.product == INFERENCE], found), QUANTIZE,
        f"x {told(x)} and scales {told(scales)} do not go together on {chip.product}",
    )  # fmt: skip
    require(
        -x.dim() <= axis < x.dim() and scales.dim() == 1
        and scales.shape[0] in (1, x.shape[axis]), QUANTIZE,
        f"scales are [1] or of x's axis {axis}, got {told(scales)} for x {told(x)}",
    )  # fmt: skip
    shape = [1] * x.dim()
    shape[axis] = scales.shape[0]
    divided = x.float() / scales.float().view(shape)
    return divided.round().clamp(-LARGEST - 1, LARGEST).to(torch.int8)


TYPES: Mapping[bool, tuple[Row, ...]] = {
    True: (
        {"output": "float16", "scale": "float32", "bias": "int32 -"},
        {"output": "int8", "scale": "float32", "bias": "int32 -", "offset": "float32 -"},
    ),
    False: (
        {"output": "float16", "scale": "float32", "bias": "int32 -"},
        {"output": "int8", "scale": "float32", "bias": "int32 -", "offset": "float32 -"},
        {
            "output": "bfloat16", "scale": "float32 bfloat16", "bias": "int32 bfloat16 float32 -",
            "pertoken_scale": "float32 -",
        },
        {
            "output": "float16", "scale": "float32", "bias": "int32 float16 float32 -",
            "pertoken_scale": "float32",
        },
        {"output": "int32", "scale": "float32 bfloat16", "bias": "int32 -"},
    ),
}  # fmt: skip
"""The vendor's table for int8, for 310P or not, without the int64 that scales can be coded in."""


def quant_matmul(
    chip: Chip, x1: Any, x2: Any, scale: Any, *, offset: Any = None, pertoken_scale: Any = None,
    bias: Any = None, output_dtype: int | None = None, **others: Any,
) -> Any:  # fmt: skip
    """Multiply int8 x1 [M, K] by int8 x2 [K, N], in int32, then by the scales of N and of M.

    The scale is [1] or [N], the pertoken_scale [M], a bias of int32 [N] is added before them and
    one of floats after them. The result is int8 if no type is given. Without a pertoken_scale and
    for results other than bfloat16, the call codes the scale as `npu_trans_quant_param` does.
    """
    import torch

    require(not others, PRODUCT, f"the simulation does not have {', '.join(others)}")
    for tensor in (x1, x2):
        require(
            tensor.dim() == 2 and tensor.dtype == torch.int8, PRODUCT,
            f"expected int8 matrices, got {told(x1)} and {told(x2)}",
        )  # fmt: skip
    (rows, columns), count = x1.shape, x2.shape[1]
    require(x2.shape[0] == columns, PRODUCT, f"{told(x1)} does not go with {told(x2)}")
    require_axes(PRODUCT, columns, count)
    given = {
        "scale": scale, "bias": bias, "pertoken_scale": pertoken_scale, "offset": offset,
    }  # fmt: skip
    dtype = torch.int8 if output_dtype is None else type_of(output_dtype)
    _check_types(chip, dtype, given)
    sizes = {"scale": (1, count), "bias": (count,), "pertoken_scale": (rows,), "offset": (1, count)}
    for what, tensor in given.items():
        require(
            tensor is None or (tensor.dim() == 1 and tensor.shape[0] in sizes[what]), PRODUCT,
            f"{what} is of {' or '.join(map(str, sizes[what]))} elements, got {told(tensor)}",
        )  # fmt: skip
    made = x1.double() @ x2.double()  # exact, as int32 is
    if bias is not None and bias.dtype == torch.int32:
        made = made + bias
    if dtype == torch.int32:
        return made.to(dtype)
    coded = pertoken_scale is None and dtype != torch.bfloat16
    made = made.float() * (_in_19_bits(scale) if coded else scale.float())
    if pertoken_scale is not None:
        made = made * pertoken_scale[:, None]
    if bias is not None and bias.dtype != torch.int32:
        made = made + bias.float()
    if offset is not None:
        made = made + offset
    return (made.round().clamp(-LARGEST - 1, LARGEST) if dtype == torch.int8 else made).to(dtype)


def _in_19_bits(scale: Any) -> Any:
    """A float32 without the last 13 bits of its mantissa: `npu_trans_quant_param` cuts them off."""
    import torch

    return (scale.view(torch.int32) & ~0x1FFF).view(torch.float32)


def _check_types(chip: Chip, dtype: Any, given: Mapping[str, Any]) -> None:
    found = {what: name(tensor.dtype) for what, tensor in given.items() if tensor is not None}
    rows = [row for row in TYPES[chip.product == INFERENCE] if row["output"] == name(dtype)]
    listed = ", ".join(f"{what} {kind}" for what, kind in found.items())
    require(
        any(fits(row, found) for row in rows), PRODUCT,
        f"results of {name(dtype)} do not go with {listed} on {chip.product}",
    )  # fmt: skip
