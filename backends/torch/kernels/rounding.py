"""Rounding the inputs of linear layers, as compressed-tensors does it.

Source: `calculate_qparams` and `quantize` of compressed-tensors: symmetric scales, dynamic ones of
the strategy `token`, and static ones of the strategy `tensor`. Half of the codes' range stands for
the largest magnitude of a row, or of all that calibration has seen; what is beyond is clamped. vLLM
rounds by a static scale in the same way (`static_scaled_int8_quant`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Tensor = Any

HALF_RANGE = 127.5
"""int8 has 256 codes, -128 to 127: their range is 255."""
LARGEST = 448.0
"""The largest 8-bit float of E4M3, without infinities."""


def round_to_int8(x: Tensor, static: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Round x [M, K] to int8, half to even; gives the codes and float32 scales.

    The scales are [M, 1], one for each row, or else what is given: a *static* one, float32 [1]. It
    is a tensor since CUDA divides by a number of the host's as it multiplies by the reciprocal.
    """
    import torch

    values = x.float()
    scales = _scales(values, HALF_RANGE) if static is None else static
    return (values / scales).round().clamp(-128, 127).to(torch.int8), scales


def round_to_fp8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of x [M, K] to E4M3; gives the numbers and float32 scales [M, 1]."""
    import torch

    values = x.float()
    scales = _scales(values, LARGEST)
    return (values / scales).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scales


def _scales(values: Tensor, half_range: float) -> Tensor:
    import torch

    # a row of zeros has the smallest scale there is instead of none
    smallest = torch.finfo(torch.float32).tiny
    return (values.abs().amax(-1, keepdim=True) / half_range).clamp(min=smallest)
