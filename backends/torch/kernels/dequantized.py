"""The kernel for every form: codes lie on the device, and each product dequantizes them first.

It takes any form on any device, at the price of writing and reading the weight in full. It is what
other kernels are compared with, and what they use for many rows, where the product costs more than
the dequantization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.host import offsets, scales, signed_codes
from qdeploy.quantization.precision import Precision
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
    """Codes as `held_codes` has them; scales and offsets [N, G]."""

    def __init__(self, weight: Quantized, dtype: Any, place: Place) -> None:
        self.rows, self._precision = weight.codes.shape[0], weight.precision
        self._codes = place(held_codes(weight))
        self._scales = place(scales(weight, dtype))
        points = weight.zero_points is not None
        self._offsets = place(offsets(weight, dtype)) if points else None

    def __call__(self, x: Tensor) -> Tensor:
        import torch.nn.functional as F  # noqa: N812

        return F.linear(x, self.dequantize())

    def dequantize(self) -> Tensor:
        """The weight [N, K] in the type of its scales."""
        codes = numbers(self._codes, self._precision)
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


def held_codes(weight: Quantized) -> Tensor:
    """Codes on the host: int8 [N, K], bytes of 8-bit floats, or two codes of 4 bits a byte."""
    codes = signed_codes(weight)
    return _pack(codes) if weight.precision.bits == 4 else codes


def numbers(held: Tensor, precision: Precision) -> Tensor:
    """The numbers [..., N, K] that held codes stand for before they are scaled."""
    import torch

    if precision.dtype == "fp8":
        return held.view(torch.float8_e4m3fn)
    return _unpack(held) if precision.bits == 4 else held


def _pack(codes: Tensor) -> Tensor:
    """Two int4 codes a byte, the even column in the low bits: int8 [N, K] to uint8 [N, K / 2]."""
    import torch

    low, high = (codes[:, i::2].to(torch.uint8) & 15 for i in (0, 1))
    return low | (high << 4)


def _unpack(packed: Tensor) -> Tensor:
    """The inverse of `_pack`: int8 [..., N, K]."""
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


def _why_not(form: Form) -> str | None:
    """Inputs that the profile rounds are for other kernels, but for weights that have none."""
    if form.precision.dtype not in ("int4", "int8", "fp8"):
        return "it takes integer weights, and 8-bit floats"
    blocks = form.precision.dtype == "fp8" and form.group < form.columns
    if form.activations != "none" and not blocks:
        return "it takes float inputs"
    return None


FLOAT = Kernel(
    "aten::linear",
    lambda form: None if form.precision.dtype == "fp16" else "it takes floats",
    pack_float,
    "torch.nn.functional.linear",
)
DEQUANTIZED = Kernel(
    "aten::linear after dequantization",
    _why_not,
    _pack_layer,
    "w = (q - zero point) * scale",
)
