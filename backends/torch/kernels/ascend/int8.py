"""int8 weights, and inputs that are rounded to int8: `npu_quant_matmul`.

Token by token rounds `npu_dynamic_quant`: a token's scale is its largest magnitude divided by 127.
By a scale of the layer's rounds `npu_quantize`, and the product is multiplied once, by that scale
and the weight's. A 310P has this way only: it documents neither `npu_dynamic_quant` nor
`pertoken_scale`. For results of float16 the vendor's call keeps 19 bits of a float32 scale, 10 of
its mantissa (`npu_trans_quant_param`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.ascend.weight_only import why_not_axes
from qdeploy.backends.torch.kernels.base import (
    STATIC,
    Form,
    Kernel,
    Layer,
    Place,
    why_not_int8_by_row,
)
from qdeploy.backends.torch.kernels.host import input_scale, scales, signed_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any


LAST_AXIS = -1


class Int8Inputs(Layer):
    """Codes int8 [K, N], scales float32 [N]."""

    def __init__(self, weight: Quantized, place: Place) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        self._codes = place(signed_codes(weight).t().contiguous())
        self._scales = place(scales(weight, torch.float32)[:, 0].contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        codes, token_scales = torch.ops.npu.npu_dynamic_quant(x)
        return torch.ops.npu.npu_quant_matmul(
            codes, self._codes, self._scales, pertoken_scale=token_scales, output_dtype=x.dtype
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales)


class StaticInt8Inputs(Layer):
    """Codes int8 [K, N], scales float32 [N] times that of the inputs, float32 [1]."""

    def __init__(self, weight: Quantized, place: Place) -> None:
        import torch

        static = input_scale(weight)
        assert static is not None  # noqa: S101
        self.rows = weight.codes.shape[0]
        self._codes = place(signed_codes(weight).t().contiguous())
        self._scales = place(scales(weight, torch.float32)[:, 0].contiguous() * static)
        self._input_scale = place(static)

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        codes = torch.ops.npu.npu_quantize(x, self._input_scale, None, torch.qint8, LAST_AXIS)
        return torch.ops.npu.npu_quant_matmul(
            codes, self._codes, self._scales, output_dtype=x.dtype
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales, self._input_scale)


def why_not_int8_inputs(form: Form) -> str | None:
    """Why int8 products do not take weights of *form*, or None."""
    return why_not_int8_by_row(form, "int8") or why_not_axes(form)


def why_not_static_inputs(form: Form) -> str | None:
    """The same for inputs that are rounded by a scale of the layer's."""
    return why_not_int8_by_row(form, STATIC) or why_not_axes(form)


def _pack(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int8Inputs(weight, place)


def _pack_static(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return StaticInt8Inputs(weight, place)


INT8_INPUTS = Kernel(
    "npu::npu_quant_matmul",
    why_not_int8_inputs,
    _pack,
    "_op_plugin_docs.py, npu_quant_matmul and npu_dynamic_quant",
)
STATIC_INT8_INPUTS = Kernel(
    "npu::npu_quant_matmul (static inputs)",
    why_not_static_inputs,
    _pack_static,
    "_op_plugin_docs.py, npu_quant_matmul and npu_quantize",
)
