"""Which linear weights of a model need one precision, by the rules of its format."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.architectures.graph import Expert, GraphConfig, Linear
from qdeploy.architectures.tensors import TensorLister
from qdeploy.planning.plan import Plan


def together(plan: Plan) -> list[tuple[str, ...]]:
    """The linear weights, each with those that need its precision, in the order of the graph."""
    config = plan.checkpoint.graph(plan.rope_scaling)
    lister = _Lister(config)
    plan.checkpoint.architecture.build(lister, config)
    rules = plan.format_row.together(plan.profile.graph)
    found: list[tuple[str, ...]] = []
    for names in lister.inputs:
        found += [names] if rules.inputs else [(name,) for name in names]
    for experts in lister.blocks:
        projections = list(zip(*((e.gate, e.up, e.down) for e in experts), strict=True))
        every = [name for names in projections for name in names]
        by_rule = {
            "none": [(name,) for name in every], "projection": projections, "block": [tuple(every)]
        }  # fmt: skip
        found += by_rule[rules.experts]
    return found


class _Lister(TensorLister):
    """Notes which linear layers read one input, and the experts of each layer."""

    def __init__(self, config: GraphConfig) -> None:
        super().__init__(config)
        self.inputs: list[tuple[str, ...]] = []
        self.blocks: list[tuple[Expert, ...]] = []

    def linear(self, x: int, layer: Linear) -> int:
        return self.linears(x, [layer])[0]

    def linears(self, x: int, layers: Sequence[Linear]) -> list[int]:
        self.inputs.append(tuple(layer.weight for layer in layers))
        return [TensorLister.linear(self, x, layer) for layer in layers]

    def experts(self, x: int, router: str, experts: Sequence[Expert]) -> int:
        self.blocks.append(tuple(experts))
        return super().experts(x, router, experts)
