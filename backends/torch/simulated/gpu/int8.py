"""Weights of 8 bits. Sources: int8mm.cu, and `_int_mm_out_cuda` in Blas.cpp."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.checks import require, told
from qdeploy.backends.torch.simulated.chips import Chip

WEIGHT_ONLY = "_weight_int8pack_mm"
PRODUCT = "_int_mm"
FEWEST_ROWS = 17
MULTIPLE = 8


def weight_int8pack_mm(chip: Chip, x: Any, weight: Any, scales: Any) -> Any:
    """Multiply x [M, K] by the transposed int8 [N, K] and by scales [N], in float32."""
    import torch

    for tensor, dimensions in ((x, 2), (weight, 2), (scales, 1)):
        require(
            tensor.dim() == dimensions, WEIGHT_ONLY,
            f"expected {dimensions} dimensions, got {told(tensor)}",
        )  # fmt: skip
    require(x.is_floating_point(), WEIGHT_ONLY, f"expected x of floats, got {told(x)}")
    require(weight.dtype == torch.int8, WEIGHT_ONLY, f"expected int8, got {told(weight)}")
    require(
        x.shape[1] == weight.shape[1], WEIGHT_ONLY,
        f"K dimension mismatch: x {told(x)}, weight {told(weight)}",
    )  # fmt: skip
    require(
        weight.shape[0] == scales.shape[0], WEIGHT_ONLY,
        f"output dim mismatch: weight {told(weight)}, scales {told(scales)}",
    )  # fmt: skip
    return (x.float() @ weight.float().t() * scales.float()).to(x.dtype)


def int_mm(chip: Chip, x: Any, other: Any) -> Any:
    """Multiply int8 [M, K] by int8 [K, N], with any strides, to int32 [M, N].

    For few rows there is no kernel: M must be above 16. K and N are multiples of 8.
    """
    import torch

    for tensor in (x, other):
        require(
            tensor.dim() == 2 and tensor.dtype == torch.int8, PRODUCT,
            f"expected int8 matrices, got {told(x)} and {told(other)}",
        )  # fmt: skip
    rows, columns = x.shape
    require(
        rows >= FEWEST_ROWS, PRODUCT, f"self.size(0) needs to be greater than 16, but got {rows}"
    )
    require(
        columns == other.shape[0], PRODUCT,
        f"self.size(1) needs to match mat2.size(0) but got {columns} and {other.shape[0]}",
    )  # fmt: skip
    for what, size in (("self.size(1)", columns), ("mat2.size(1)", other.shape[1])):
        require(
            size > 0 and size % MULTIPLE == 0, PRODUCT,
            f"{what} needs to be greater than 0 and a multiple of 8, but got {size}",
        )  # fmt: skip
    return torch.ops.aten._int_mm.default(x, other)
