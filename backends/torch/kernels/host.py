"""Weights on the host as torch tensors, in the layouts that the kernels' packing starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdeploy.quantization.quantized import Quantized

    Tensor = Any

MIDDLE = {4: 8, 8: 128}
"""The code that stands for zero where codes are unsigned and symmetric."""


def signed_codes(weight: Quantized) -> Tensor:
    """Codes as int8 [N, K]; unsigned ones, and their zero points, are shifted by their middle.

    8-bit floats stay bytes.
    """
    import torch

    codes = torch.from_numpy(weight.codes)
    if weight.zero_points is None:
        return codes
    return (codes.to(torch.int16) - MIDDLE[weight.precision.bits]).to(torch.int8)


def scales(weight: Quantized, dtype: Any) -> Tensor:
    """Scales [N, G]. Kernels that take bfloat16 round the eleven bits of a float16 to eight."""
    import torch

    return torch.from_numpy(weight.scales).to(dtype)


def input_scale(weight: Quantized) -> Tensor | None:
    """The static scale of the layer's inputs, float32 [1], or None."""
    import torch

    if weight.input_scale is None:
        return None
    return torch.tensor([weight.input_scale], dtype=torch.float32)


def pad_rows(matrix: Tensor, multiple: int) -> Tensor:
    """Append rows of zeros up to a multiple."""
    import torch.nn.functional as F  # noqa: N812

    missing = -matrix.shape[0] % multiple
    return F.pad(matrix, (0, 0, 0, missing)) if missing else matrix


def offsets(weight: Quantized, dtype: Any) -> Tensor:
    """What is added after scaling: (middle - zero point) * scale, [N, G]; zeros where symmetric."""
    import torch

    if weight.zero_points is None:
        return torch.zeros(weight.scales.shape, dtype=dtype)
    points = torch.from_numpy(weight.zero_points).to(torch.float32)
    return ((MIDDLE[weight.precision.bits] - points) * torch.from_numpy(weight.scales).float()).to(
        dtype
    )
