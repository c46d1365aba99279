"""Experts on a device whose tensors the host does not wait for.

Few tokens multiply by the weights of the experts that they chose. Many are sorted by expert, and
`_grouped_mm` multiplies each group by its expert: a slice of experts at a time, so that the weights
of a layer are never dequantized as a whole. Which tokens a slice has is known to the device alone,
so every slice gets room for all of them; its own come first, and the operator stops where they end.

Source: GroupedBlas.cpp of github.com/pytorch/pytorch. One kernel does all groups on compute
capability 9.0 and 10.0, and on gfx942 and gfx950; elsewhere torch itself multiplies group by group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels import stacks
from qdeploy.backends.torch.kernels.base import ExpertKernel, ExpertLayers, Form, Place, Read
from qdeploy.backends.torch.kernels.stacks import Parts, Stack
from qdeploy.planning.pass_memory import EXPERTS_AT_A_TIME

if TYPE_CHECKING:
    from collections.abc import Callable

    Tensor = Any

NAME = "aten::_grouped_mm"
MULTIPLE = 8
"""Rows of `_grouped_mm`'s matrices begin at multiples of 16 bytes."""


class GroupedExperts(ExpertLayers):
    """All experts of a layer as two stacks.

    Args:
        numbers: 0 to E - 1, on the device.
    """

    def __init__(self, gate_up: Stack, down: Stack, numbers: Tensor) -> None:
        self._gate_up, self._down, self._numbers = gate_up, down, numbers

    def __call__(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        few = chosen.numel() < self._numbers.numel()
        made = self._few(x, chosen) if few else self._many(x, chosen)
        return (made.view(*chosen.shape, -1) * weights.unsqueeze(-1)).sum(1)

    def _few(self, x: Tensor, chosen: Tensor) -> Tensor:
        """The output of every choice, [T * K, H]: its expert's weights are read for it alone."""
        numbers = chosen.flatten()
        rows = x.unsqueeze(1).expand(-1, chosen.shape[1], -1).flatten(0, 1)
        return self._down.multiply(numbers, _gated(self._gate_up.multiply(numbers, rows)))

    def _many(self, x: Tensor, chosen: Tensor) -> Tensor:
        """The output of every choice, [T * K, H]: each expert's weights are read once."""
        import torch

        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        ends = torch.searchsorted(flat.index_select(0, order), self._numbers, right=True)
        starts = torch.nn.functional.pad(ends, (1, 0))
        places = torch.arange(flat.numel(), device=x.device)
        total = x.new_zeros((flat.numel(), self._down.form.rows))
        experts = self._numbers.numel()
        for first in range(0, experts, self._at_a_time):
            count = min(self._at_a_time, experts - first)
            begin = starts.narrow(0, first, 1)
            groups = (starts.narrow(0, first + 1, count) - begin).to(torch.int32)
            mine = order.index_select(0, (places + begin) % flat.numel())
            rows = x.index_select(0, mine // chosen.shape[1])
            hidden = _gated(_product(rows, self._gate_up.slice(first, count), groups))
            made = _product(hidden, self._down.slice(first, count), groups)
            # what follows the slice's own rows was never written
            own = (places < groups.narrow(0, count - 1, 1)).unsqueeze(-1)
            total.index_add_(0, mine, torch.where(own, made, 0))
        return total

    @property
    def _at_a_time(self) -> int:
        """Experts of a slice."""
        return max(EXPERTS_AT_A_TIME // (self._gate_up.bytes + self._down.bytes), 1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self._gate_up.held, *self._down.held, self._numbers)


def _gated(both: Tensor) -> Tensor:
    import torch.nn.functional as F  # noqa: N812

    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


def _product(rows: Tensor, weights: Tensor, groups: Tensor) -> Tensor:
    """Multiply the rows of each group, up to its end, by its own of [G, N, K]."""
    import torch

    return torch.ops.aten._grouped_mm(rows, weights.transpose(1, 2), groups)


@dataclass(frozen=True)
class Kind:
    """A way to hold weights.

    Attributes:
        why_not: why it does not hold weights of a form, or None if it does.
        parts: what it holds of one.
        stack: the class that multiplies by them.
    """

    why_not: Callable[[Form], str | None]
    parts: Parts
    stack: type[Stack]

    def pack(self, reads: Sequence[Read], form: Form, place: Place) -> Stack:
        return self.stack(stacks.stacked(reads, self.parts, form, place), form)


def grouped(name: str, kind: Kind, source: str) -> ExpertKernel:
    """The row of the table of kernels whose stacks are of a kind."""

    def why_not(outer: Form, inner: Form) -> str | None:
        reason = kind.why_not(outer) or kind.why_not(inner)
        if reason is None and outer.dtype != "bfloat16":
            return "it computes in bfloat16"
        if reason is None and (outer.columns % MULTIPLE or inner.columns % MULTIPLE):
            return f"it takes multiples of {MULTIPLE} columns"
        return reason

    def pack(
        gate_up: Sequence[Read], down: Sequence[Read], outer: Form, inner: Form, place: Place
    ) -> ExpertLayers:
        import torch

        numbers = place(torch.arange(len(down)))
        return GroupedExperts(
            kind.pack(gate_up, outer, place), kind.pack(down, inner, place), numbers
        )

    return ExpertKernel(name, why_not, pack, source)


FLOAT = grouped(
    NAME,
    Kind(
        lambda form: None if form.precision.dtype == "fp16" else "it takes floats",
        stacks.float_parts,
        stacks.FloatStack,
    ),
    "GroupedBlas.cpp",
)
DEQUANTIZED = grouped(
    f"{NAME} after dequantization",
    Kind(
        lambda form: None if form.precision.dtype != "fp16" else "it takes quantized weights",
        stacks.code_parts,
        stacks.CodeStack,
    ),
    "GroupedBlas.cpp",
)
