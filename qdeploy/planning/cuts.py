"""How each weight of a model is cut by tensor parallelism, from its architecture's description.

The cuts are those of Megatron-LM, which vLLM makes, too: what feeds a gate or attention is cut by
rows, what reads their result by columns, so that a block needs one sum over the ranks. Experts are
cut like the block that they stand for. Norms and routers are on every rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from qdeploy.architectures.graph import Builder, Expert, Linear
from qdeploy.planning.device_memory import Model


class Cut(Enum):
    """Along which axis of [N, K] a weight is cut."""

    WHOLE = "whole"
    ROWS = "rows"
    COLUMNS = "columns"
    KEY_VALUE = "rows, by key-value heads"
    VOCABULARY = "rows, padded"
    EXPERT_ROWS = "rows of experts"
    EXPERT_COLUMNS = "columns of experts"


EXPERTS = (Cut.EXPERT_ROWS, Cut.EXPERT_COLUMNS)


def find_cuts(model: Model) -> dict[str, Cut]:
    """The cut of every weight that is cut."""
    tracer = _Tracer()
    model.architecture.build(tracer, model.config)
    return tracer.cuts


class _Value(NamedTuple):
    """A tensor of the graph.

    Attributes:
        made_by: names of the linear layer's weight and bias that made it.
        is_cut: whether every rank has a part of it.
    """

    made_by: tuple[str, ...] = ()
    is_cut: bool = False


class _Tracer(Builder[_Value]):
    """Follows the graph: a linear layer is cut by rows where its result goes into an attention or a
    gate, and by columns where it reads what came out of them.
    """

    def __init__(self) -> None:
        self.cuts: dict[str, Cut] = {}

    def embedding(self, weight: str) -> _Value:
        self.cuts[weight] = Cut.VOCABULARY
        return _Value()

    def rms_norm(self, x: _Value, weight: str) -> _Value:
        return x

    def qk_norm(self, x: _Value, weight: str, heads: int) -> _Value:
        return x

    def linear(self, x: _Value, layer: Linear) -> _Value:
        if x.is_cut:
            self.cuts[layer.weight] = Cut.COLUMNS
            return _Value()
        return _Value((layer.weight, *([layer.bias] if layer.bias else [])))

    def attention(self, layer: int, query: _Value, key: _Value, value: _Value) -> _Value:
        self._cut(Cut.ROWS, query)
        self._cut(Cut.KEY_VALUE, key, value)
        return _Value(is_cut=True)

    def swiglu(self, gate: _Value, up: _Value) -> _Value:
        self._cut(Cut.ROWS, gate, up)
        return _Value(is_cut=True)

    def experts(self, x: _Value, router: str, experts: Sequence[Expert]) -> _Value:
        for expert in experts:
            self.cuts[expert.gate] = self.cuts[expert.up] = Cut.EXPERT_ROWS
            self.cuts[expert.down] = Cut.EXPERT_COLUMNS
        return _Value()

    def add(self, x: _Value, y: _Value) -> _Value:
        return _Value()

    def logits(self, x: _Value, weight: str) -> None:
        self.cuts[weight] = Cut.VOCABULARY

    def embeddings(self, x: _Value, *, normalize: bool) -> None:
        """It takes no weight."""

    def scores(self, x: _Value, layer: Linear) -> None:
        """Its weight is whole."""

    def _cut(self, cut: Cut, *values: _Value) -> None:
        for value in values:
            self.cuts.update(dict.fromkeys(value.made_by, cut))
