"""A model's description as a list of operations, cut where only the residual stream goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear
from qdeploy.calibration.importance.operations import (
    Add,
    Attention,
    Embedding,
    Experts,
    Norm,
    Operation,
    Product,
    SwiGlu,
)

CUTS = 2
"""Every second cut is one between segments: a layer, which is attention and a feed-forward block.

The reverse then computes attention's output again, a few percent of its work, for half the file.
"""


@dataclass(frozen=True)
class Described:
    """A model, cut into segments.

    Attributes:
        operations: in the order of the description.
        ends: the operation that each segment ends with. The first segment is the embedding, and the
            last ends with the hidden states after the last norm.
        head: name of the weight that makes logits of them.
        shares: the key of the energies of each linear layer, by the weight's name.
    """

    operations: tuple[Operation, ...]
    ends: tuple[int, ...]
    head: str
    shares: dict[str, str]


def describe(architecture: Architecture, config: GraphConfig) -> Described:
    """Record the description of a model that generates, and cut it.

    Linear layers that the description applies together share one key, the first one's name: query,
    key and value, or gate and up. All experts of a block share two: gate and up have its router's,
    and down has the first down's.
    """
    build = Recorder()
    last = architecture.hidden(build, config)
    operations = tuple(build.operations[: last + 1])
    ends = (*[end for end in cuts(operations)[::CUTS] if end < last], last)
    head = architecture.head(config)
    shares = {head: head}
    for operation in operations:
        if isinstance(operation, Product):
            shares[operation.layer.weight] = operation.key
        elif isinstance(operation, Experts):
            shares[operation.router] = operation.inner_key
            for expert in operation.experts:
                shares[expert.gate] = shares[expert.up] = operation.inner_key
                shares[expert.down] = operation.outer_key
    return Described(operations, ends, head, shares)


def cuts(operations: Sequence[Operation]) -> list[int]:
    """Numbers of the operations whose result is all that later ones take."""
    last_use = list(range(len(operations)))
    for number, operation in enumerate(operations):
        for used in operation.inputs:
            last_use[used] = number
    found, needed = [], 0
    for number, last in enumerate(last_use):
        if needed <= number:  # nothing earlier is used after this
            found.append(number)
        needed = max(needed, last)
    return found


class Recorder(Builder[int]):
    """Lists the operations; a value is the number of the operation that it results from."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def embedding(self, weight: str) -> int:
        return self._record(Embedding((), weight))

    def rms_norm(self, x: int, weight: str) -> int:
        return self._record(Norm((x,), weight))

    def qk_norm(self, x: int, weight: str, heads: int) -> int:
        return self._record(Norm((x,), weight, heads))

    def linear(self, x: int, layer: Linear) -> int:
        return self.linears(x, [layer])[0]

    def linears(self, x: int, layers: Sequence[Linear]) -> list[int]:
        return [self._record(Product((x,), layer, layers[0].weight)) for layer in layers]

    def attention(self, layer: int, query: int, key: int, value: int) -> int:
        return self._record(Attention((query, key, value), layer))

    def swiglu(self, gate: int, up: int) -> int:
        return self._record(SwiGlu((gate, up)))

    def experts(self, x: int, router: str, experts: Sequence[Expert]) -> int:
        return self._record(Experts((x,), router, tuple(experts)))

    def add(self, x: int, y: int) -> int:
        return self._record(Add((x, y)))

    def logits(self, x: int, weight: str) -> None:
        """The head is not recorded: its gradient is computed with the labels'."""

    def _record(self, operation: Operation) -> int:
        self.operations.append(operation)
        return len(self.operations) - 1
