"""Rounding the inputs of linear layers, token by token, as compressed-tensors does it.

Source: `calculate_qparams` and `quantize` of compressed-tensors: dynamic symmetric scales of the
strategy `token`. Half of the codes' range stands for the largest magnitude of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Tensor = Any

HALF_RANGE = 127.5
"""int8 has 256 codes, -128 to 127: their range is 255."""
LARGEST = 448.0
"""The largest 8-bit float of E4M3, without infinities."""


def round_to_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of x [M, K] to int8; gives the codes and float32 scales [M, 1]."""
    import torch

    values = x.float()
    scales = _scales(values, HALF_RANGE)
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
