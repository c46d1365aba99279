"""MoE layers in standard operators, for engines without a fused MoE operator.

Every expert processes every token; most outputs are multiplied by a routing weight of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qdeploy.architectures.graph import Expert, GraphConfig
from qdeploy.exporters.native.onnx.graph import Graph


def routing_weights(graph: Graph, config: GraphConfig, logits: str, floats: str) -> str:
    """Routing weights [R, E] from the router's logits [R, E]; zero for experts beyond the top k."""
    import numpy as np

    probabilities = graph.add("Softmax", [logits], axis=-1)
    weights, experts = f"{logits}/top_k_weights", f"{logits}/top_k_experts"
    inputs = [probabilities, graph.i64([config.top_k])]
    graph.add_many("TopK", inputs, [weights, experts], name=f"{logits}/top_k", axis=-1)
    if config.renormalize:
        total = graph.add("ReduceSum", [weights, graph.i64([-1])], keepdims=1)
        weights = graph.add("Div", [weights, total])
    zeros = graph.add("Mul", [probabilities, graph.constant(np.zeros((), floats))])
    inputs = [zeros, experts, weights]
    return graph.add("ScatterElements", inputs, name=f"{logits}/routing_weights", axis=1)


def unrolled_experts(
    graph: Graph,
    multiply: Callable[[str, str], str],
    x: str,
    routing: str,
    experts: Sequence[Expert],
    name: str,
) -> str:
    """Apply the experts one after another to x [R, H], with routing weights *routing* [R, E].

    *multiply* adds the product of a tensor and a weight, given by name. The result is named *name*.
    """
    columns = [f"{routing}/{i}" for i in range(len(experts))]
    graph.add_many(
        "Split", [routing, graph.i64([1] * len(experts))], columns, name=f"{routing}/split", axis=1
    )
    total = ""
    for expert, column in zip(experts, columns, strict=True):
        inner = graph.add("Mul", [silu(graph, multiply(x, expert.gate)), multiply(x, expert.up)])
        output = graph.add("Mul", [multiply(inner, expert.down), column])
        last = expert is experts[-1]
        total = graph.add("Add", [total, output], name=name if last else "") if total else output
    return total


def silu(graph: Graph, x: str) -> str:
    return graph.add("Mul", [x, graph.add("Sigmoid", [x])], name="silu")
