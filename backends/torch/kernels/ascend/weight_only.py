"""Float inputs and weights of 4 or 8 bits: `npu_weight_quant_batchmatmul`.

It computes x * ((code + offset) * scale), with scales and offsets [K / g, N] or [1, N] of x's type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.host import MIDDLE, scales, signed_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

LARGEST = 65535
"""Largest K and N."""
IN_A_WORD = 8
"""Codes of 4 bits in an int32."""
GROUPS = (64, 128)
"""The documentation takes any multiple of 32. Devices refuse all but these two for the weight's
fast layout: vllm-ascend issues 3588, 5603 and 8770, error 161002."""


class WeightOnly(Layer):
    """Codes [K, N]: int8, or packed int32 [K, N / 8]. A group of 0 is one scale for each column."""

    def __init__(self, weight: Quantized, form: Form, place: Place) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        self._group = form.group if form.group < form.columns else 0
        if weight.precision.bits == 4:
            self._codes = pack_int4(place(signed_codes(weight)).t())
        else:
            # by its documentation, the operator is faster on a transposed weight
            self._codes = place(signed_codes(weight)).t()
        dtype = getattr(torch, form.dtype)
        self._scales = place(scales(weight, dtype).t().contiguous())
        points = weight.zero_points is not None
        self._offsets = place(code_offsets(weight, dtype).t().contiguous()) if points else None

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        return torch.ops.npu.npu_weight_quant_batchmatmul(
            x, self._codes, self._scales, self._offsets, antiquant_group_size=self._group
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for t in (self._codes, self._scales, self._offsets) if t is not None)


def pack_int4(codes: Tensor) -> Tensor:
    """Pack codes -8 to 7 of a matrix [A, B] on the device: int32 [A, B / 8]."""
    import torch

    return torch.ops.npu.npu_convert_weight_to_int4pack(codes.to(torch.int32).contiguous())


def code_offsets(weight: Quantized, dtype: Any) -> Tensor:
    """What is added to a signed code before it is scaled, [N, G]: exact in bfloat16."""
    import torch

    if weight.zero_points is None:
        return torch.zeros(weight.scales.shape, dtype=dtype)
    points = torch.from_numpy(weight.zero_points).to(torch.int16)
    return (MIDDLE[weight.precision.bits] - points).to(dtype)


def why_not_axes(form: Form) -> str | None:
    """Why a product does not take a weight of this size, or None."""
    if max(form.rows, form.columns) > LARGEST:
        return f"it takes at most {LARGEST} rows and columns"
    if form.precision.bits == 4 and form.rows % IN_A_WORD:
        return f"it takes multiples of {IN_A_WORD} rows"
    if form.dtype == "float32":
        return "it computes in bfloat16 or float16"
    return None


def _why_not_int4(form: Form) -> str | None:
    if form.precision.dtype != "int4" or form.activations != "none":
        return "it takes int4 weights and float inputs"
    if form.group not in GROUPS and form.group != form.columns:
        return "it takes groups of 64 or 128, or one scale for each row"
    return why_not_axes(form)


def _why_not_int8(form: Form) -> str | None:
    if form.precision.dtype != "int8" or form.activations != "none":
        return "it takes int8 weights and float inputs"
    if form.group != form.columns:
        return "it takes one scale for each row"
    return why_not_axes(form)


def _pack(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return WeightOnly(weight, form, place)


SOURCE = "_op_plugin_docs.py, npu_weight_quant_batchmatmul"
INT4 = Kernel("npu::npu_weight_quant_batchmatmul (int4)", _why_not_int4, _pack, SOURCE)
INT8 = Kernel("npu::npu_weight_quant_batchmatmul (int8)", _why_not_int8, _pack, SOURCE)
