"""Stacks: one projection of all experts of a layer, [E, N, K], in one tensor of codes.

A stack multiplies in two ways. For few tokens it takes the weights of the chosen experts only,
which are picked on the device: no number is read on the host. For many tokens it gives slices of
dequantized weights, which a grouped product takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Place, Read
from qdeploy.backends.torch.kernels.dequantized import dequantize, held_codes, numbers
from qdeploy.backends.torch.kernels.host import offsets, scales
from qdeploy.planning.pass_memory import EXPERTS_AT_A_TIME
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

Parts = Callable[["Matrix", Form], "tuple[Tensor, ...]"]
"""What a stack holds of one expert's weight, on the host."""


class Stack(ABC):
    """One projection of all experts.

    Args:
        held: the tensors that it holds, each [E, ...].
        form: of one expert's weight.
    """

    def __init__(self, held: Sequence[Tensor], form: Form) -> None:
        self.held, self.form = tuple(held), form

    @property
    def bytes(self) -> int:
        """Of an expert's weight when it is dequantized."""
        return self.form.rows * self.form.columns * 2

    def multiply(self, numbers: Tensor, x: Tensor) -> Tensor:
        """Multiply each row of x [S, K] by the expert of its number [S]; gives [S, N]."""
        import torch

        size = self._at_a_time()
        parts = [
            self._multiply([held.index_select(0, part) for held in self.held], rows)
            for part, rows in zip(numbers.split(size), x.split(size), strict=True)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def slice(self, start: int, count: int) -> Tensor:
        """The weights of some experts, dequantized: [count, N, K]."""
        return self._dequantized([held.narrow(0, start, count) for held in self.held])

    def _at_a_time(self) -> int:
        """Most experts whose weights are taken at a time."""
        return max(EXPERTS_AT_A_TIME // self.bytes, 1)

    def _multiply(self, held: Sequence[Tensor], x: Tensor) -> Tensor:
        """Multiply each row of x [S, K] by its own weight of S."""
        return self._dequantized(held).bmm(x.unsqueeze(-1)).squeeze(-1)

    @abstractmethod
    def _dequantized(self, held: Sequence[Tensor]) -> Tensor:
        """The weights [S, N, K] of parts of what it holds."""


class FloatStack(Stack):
    """Weights that are not quantized."""

    def _dequantized(self, held: Sequence[Tensor]) -> Tensor:
        return held[0]


class CodeStack(Stack):
    """Codes as `Dequantized` holds them, scales, and offsets if there are any."""

    def _dequantized(self, held: Sequence[Tensor]) -> Tensor:
        codes, scales, *offsets = held
        codes = numbers(codes, self.form.precision)
        return dequantize(codes, scales, offsets[0] if offsets else None)


def float_parts(weight: Matrix, form: Form) -> tuple[Tensor, ...]:
    """The weight in the type of activations."""
    import torch

    return (torch.from_numpy(weight).to(getattr(torch, form.dtype)),)


def code_parts(weight: Matrix, form: Form) -> tuple[Tensor, ...]:
    """Codes, scales, and offsets where the weight is asymmetric."""
    import torch

    assert isinstance(weight, Quantized)  # noqa: S101
    dtype = getattr(torch, form.dtype)
    added = () if weight.zero_points is None else (offsets(weight, dtype),)
    return (held_codes(weight), scales(weight, dtype), *added)


def stacked(reads: Sequence[Read], parts: Parts, form: Form, place: Place) -> list[Tensor]:
    """What a stack holds of all experts, on the device. They are read one at a time."""
    made: list[Tensor] = []
    for number, read in enumerate(reads):
        found = [place(part) for part in parts(read(), form)]
        if not made:
            made = [part.new_empty((len(reads), *part.shape)) for part in found]
        for whole, part in zip(made, found, strict=True):
            whole.select(0, number).copy_(part)
    return made
