"""Experts in groups: tokens are sorted by expert, and an expert multiplies its own all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import (
    ExpertKernel,
    ExpertLayers,
    Form,
    Layer,
    Place,
    Read,
)

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any


class HostExperts(ExpertLayers):
    """On the CPU: the linear kernel of each expert that tokens are routed to, and of no other.

    The numbers of tokens are read on the host, where they are, so it does not run on fake tensors.
    """

    def __init__(self, gate_up: Sequence[Layer], down: Sequence[Layer]) -> None:
        self._gate_up, self._down = gate_up, down

    def __call__(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F  # noqa: N812

        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        tokens = order // chosen.shape[1]
        counts = torch.bincount(flat, minlength=len(self._down)).tolist()
        grouped, scaled = x.index_select(0, tokens), weights.flatten().index_select(0, order)
        outputs, start = [], 0
        for number, count in enumerate(counts):
            if count:
                gate, up = self._gate_up[number](grouped[start : start + count]).chunk(2, -1)
                outputs.append(self._down[number](F.silu(gate) * up))
                start += count
        return torch.zeros_like(x).index_add_(0, tokens, torch.cat(outputs) * scaled[:, None])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for layer in (*self._gate_up, *self._down) for t in layer.tensors)


def host_experts(linear: Callable[[Form], Callable[[Matrix, Form, Place], Layer]]) -> ExpertKernel:
    """The row whose experts are held by the linear kernels that *linear* finds for their forms."""

    def pack(
        gate_up: Sequence[Read],
        down: Sequence[Read],
        outer: Form,
        inner: Form,
        place: Place,
    ) -> ExpertLayers:
        return HostExperts(
            [linear(outer)(read(), outer, place) for read in gate_up],
            [linear(inner)(read(), inner, place) for read in down],
        )

    return ExpertKernel("linear kernels of the chosen experts", lambda *_: None, pack, "this file")
