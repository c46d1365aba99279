"""Experts: tokens are sorted by expert on the device, and `npu_grouped_matmul` multiplies them all.

It takes the codes of all experts [E, K, N] and the end of each expert's tokens as a tensor, so the
host reads nothing and no weight is dequantized in memory. It takes few tokens and many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.ascend.int8 import why_not_int8_inputs, why_not_static_inputs
from qdeploy.backends.torch.kernels.ascend.weight_only import (
    code_offsets,
    pack_int4,
    why_not_axes,
)
from qdeploy.backends.torch.kernels.base import ExpertKernel, ExpertLayers, Form, Place, Read
from qdeploy.backends.torch.kernels.host import input_scale, scales, signed_codes
from qdeploy.backends.torch.kernels.stacks import float_parts, stacked
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any
    Parts = Callable[[Matrix, Form, Place], tuple[Tensor, ...]]

NAME = "npu::npu_grouped_matmul"
FIRST_AXIS = 0
ONE_RESULT, BY_ROWS = 3, 0
"""Values of `split_item` and `group_type`: one tensor of results; groups of x's rows."""


@dataclass(frozen=True)
class Kind:
    """A way to hold the weights of all experts.

    Attributes:
        why_not: why it does not hold weights of a form, or None if it does.
        parts: what it holds of one expert on the device: the weight [K, N] first.
        arguments: the operator's names of the others.
        rounds: inputs are rounded to int8: token by token, or by their expert's scale if there is
            one tensor more, of these scales.
    """

    why_not: Callable[[Form], str | None]
    parts: Parts
    arguments: tuple[str, ...] = ()
    rounds: bool = False


class Projection:
    """One projection of all experts, [E, K, N]."""

    def __init__(self, kind: Kind, reads: Sequence[Read], form: Form, place: Place) -> None:
        self._kind = kind
        self.held = stacked(reads, lambda weight, _: kind.parts(weight, form, place), form, place)

    def __call__(self, x: Tensor, experts: Tensor, ends: Tensor) -> Tensor:
        """Multiply the rows of x [M, K] by the weights of their experts [M]; gives [M, N].

        Rows are in the order of their experts: those of each [E] end at *ends*.
        """
        import torch

        count = len(self._kind.arguments)
        weight, others, static = self.held[0], self.held[1 : 1 + count], self.held[1 + count :]
        added: dict[str, Any] = {
            name: [part] for name, part in zip(self._kind.arguments, others, strict=True)
        }
        if self._kind.rounds:
            added["output_dtype"] = x.dtype
            x, token_scales = _rounded(x, experts, *static)
            added["per_token_scale"] = [token_scales]
        return torch.ops.npu.npu_grouped_matmul(
            [x], [weight], group_list=ends, split_item=ONE_RESULT, group_type=BY_ROWS, **added
        )[0]


def _rounded(x: Tensor, experts: Tensor, *static: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of x [M, K] as int8, and their scales, float32 [M]: of their own or of experts."""
    import torch

    if not static:
        codes, scales = torch.ops.npu.npu_dynamic_quant(x)
        return codes, scales
    scales = static[0].flatten().index_select(0, experts)
    return torch.ops.npu.npu_quantize(x, scales, None, torch.qint8, FIRST_AXIS), scales


class AscendExperts(ExpertLayers):
    """All experts of a layer.

    Args:
        numbers: 0 to E - 1, on the device.
    """

    def __init__(self, gate_up: Projection, down: Projection, numbers: Tensor) -> None:
        self._gate_up, self._down, self._numbers = gate_up, down, numbers

    def __call__(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        import torch

        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        experts = flat.index_select(0, order)
        ends = torch.searchsorted(experts, self._numbers, right=True)
        rows = x.index_select(0, order // chosen.shape[1])
        hidden = torch.ops.npu.npu_swiglu(self._gate_up(rows, experts, ends))
        made = self._down(hidden, experts, ends)
        found = torch.empty_like(made).index_copy_(0, order, made)
        return (found.view(*chosen.shape, -1) * weights.unsqueeze(-1)).sum(1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self._gate_up.held, *self._down.held, self._numbers)


def _floats(weight: Matrix, form: Form, place: Place) -> tuple[Tensor, ...]:
    return (place(float_parts(weight, form)[0]).t().contiguous(),)


def _weight_only(weight: Matrix, form: Form, place: Place) -> tuple[Tensor, ...]:
    """Codes [K, N], or packed [K, N / 8]; scales and offsets [G, N], or [N] of one group."""
    import torch

    assert isinstance(weight, Quantized)  # noqa: S101
    dtype = getattr(torch, form.dtype)
    codes = place(signed_codes(weight)).t()
    packed = pack_int4(codes) if weight.precision.bits == 4 else codes.contiguous()
    both = [place(t).t() for t in (scales(weight, dtype), code_offsets(weight, dtype))]
    one = form.group == form.columns
    return packed, *(part.squeeze(0) if one else part.contiguous() for part in both)


def _int8_inputs(weight: Matrix, form: Form, place: Place) -> tuple[Tensor, ...]:
    """Codes [K, N], scales [N]: bfloat16 for results of it, else float32."""
    import torch

    assert isinstance(weight, Quantized)  # noqa: S101
    dtype = torch.bfloat16 if form.dtype == "bfloat16" else torch.float32
    codes = place(signed_codes(weight)).t().contiguous()
    return codes, place(scales(weight, dtype)).squeeze(-1)


def _static_inputs(weight: Matrix, form: Form, place: Place) -> tuple[Tensor, ...]:
    """The same, and the scale of the inputs, float32 [1]."""
    assert isinstance(weight, Quantized)  # noqa: S101
    static = input_scale(weight)
    assert static is not None  # noqa: S101
    return *_int8_inputs(weight, form, place), place(static)


def _why_not_floats(form: Form) -> str | None:
    return why_not_axes(form) if form.precision.dtype == "fp16" else "it takes floats"


def _why_not_weight_only(form: Form) -> str | None:
    if form.precision.dtype not in ("int4", "int8") or form.activations != "none":
        return "it takes integer weights and float inputs"
    if form.precision.dtype == "int8" and form.group != form.columns:
        return "it takes int8 weights with one scale for each row"
    return why_not_axes(form)


def _kernel(name: str, kind: Kind) -> ExpertKernel:
    def why_not(outer: Form, inner: Form) -> str | None:
        return kind.why_not(outer) or kind.why_not(inner)

    def pack(
        gate_up: Sequence[Read], down: Sequence[Read], outer: Form, inner: Form, place: Place
    ) -> ExpertLayers:
        import torch

        return AscendExperts(
            Projection(kind, gate_up, outer, place),
            Projection(kind, down, inner, place),
            place(torch.arange(len(down))),
        )

    return ExpertKernel(name, why_not, pack, "_op_plugin_docs.py, npu_grouped_matmul")


FLOAT = _kernel(NAME, Kind(_why_not_floats, _floats))
WEIGHT_ONLY = _kernel(
    f"{NAME} (integer weights)",
    Kind(_why_not_weight_only, _weight_only, ("antiquant_scale", "antiquant_offset")),
)
INT8_INPUTS = _kernel(
    f"{NAME} (int8 inputs)",
    Kind(why_not_int8_inputs, _int8_inputs, ("scale",), rounds=True),
)
STATIC_INT8_INPUTS = _kernel(
    f"{NAME} (static int8 inputs)",
    Kind(why_not_static_inputs, _static_inputs, ("scale",), rounds=True),
)
