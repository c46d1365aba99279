"""The kernel for every form: codes lie on the device, and each product dequantizes them first.

It takes any form on any device, at the price of writing and reading the weight in full. It is what
other kernels are compared with, and what they use for many rows, where the product costs more than
the dequantization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.host import offsets, scales, signed_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any


class Float(Layer):
    """An unquantized weight [N, K]."""

    def __init__(self, weight: Tensor) -> None:
        self.rows = weight.shape[0]
        self._weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        import torch.nn.functional as F  # noqa: N812

        return F.linear(x, self._weight)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._weight,)


class Dequantized(Layer):
    """Codes int8 [N, K], or two four-bit ones a byte [N, K / 2]; scales and offsets [N, G]."""

    def __init__(self, weight: Quantized, dtype: Any, place: Place) -> None:
        codes = signed_codes(weight)
        self.rows = codes.shape[0]
        self._packed = weight.precision.bits == 4
        self._codes = place(pack_codes(codes) if self._packed else codes)
        self._scales = place(scales(weight, dtype))
        points = weight.zero_points is not None
        self._offsets = place(offsets(weight, dtype)) if points else None

    def __call__(self, x: Tensor) -> Tensor:
        import torch.nn.functional as F  # noqa: N812

        return F.linear(x, self.dequantize())

    def dequantize(self) -> Tensor:
        """The weight [N, K] in the type of its scales."""
        codes = unpack_codes(self._codes) if self._packed else self._codes
        return dequantize(codes, self._scales, self._offsets)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for t in (self._codes, self._scales, self._offsets) if t is not None)


def dequantize(codes: Tensor, scales: Tensor, offsets: Tensor | None) -> Tensor:
    """Codes * scale + offset in the type of scales: codes [..., N, K], scales [..., N, G].

    Codes that have this type already are overwritten.
    """
    values = codes.to(scales.dtype).unflatten(-1, (scales.shape[-1], -1))
    values.mul_(scales.unsqueeze(-1))
    if offsets is not None:
        values.add_(offsets.unsqueeze(-1))
    return values.flatten(-2)


def pack_codes(codes: Tensor) -> Tensor:
    """Two int4 codes a byte, the even column in the low bits: int8 [N, K] to uint8 [N, K / 2]."""
    import torch

    low, high = (codes[:, i::2].to(torch.uint8) & 15 for i in (0, 1))
    return low | (high << 4)


def unpack_codes(packed: Tensor) -> Tensor:
    """The inverse of `pack_codes`: int8 [..., N, K]."""
    import torch

    # shifting a signed number to the right copies its sign
    return (torch.stack((packed << 4, packed), -1).view(torch.int8) >> 4).flatten(-2)


def pack_float(weight: Matrix, form: Form, place: Place) -> Layer:
    """A weight [N, K] that is not quantized."""
    import torch

    return Float(place(torch.from_numpy(weight).to(getattr(torch, form.dtype))))


def _pack_layer(weight: Matrix, form: Form, place: Place) -> Layer:
    import torch

    assert isinstance(weight, Quantized)  # noqa: S101
    return Dequantized(weight, getattr(torch, form.dtype), place)


FLOAT = Kernel(
    "aten::linear",
    lambda form: None if form.precision.dtype == "fp16" else "it takes floats",
    pack_float,
    "torch.nn.functional.linear",
)
DEQUANTIZED = Kernel(
    "aten::linear after dequantization",
    lambda form: (
        None
        if form.precision.dtype in ("int4", "int8") and form.activations == "none"
        else "it takes integer weights and float inputs"
    ),
    _pack_layer,
    "w = (q - zero point) * scale",
)
