"""MoE layers, in the form for which the plugins compute only the experts that tokens are routed to.

Taken literally, the graph applies every expert to every token, with routing weights that are mostly
zero. The plugins match it as a whole and multiply by the selected experts only: the CPU's runtime
graph then has three `GatherMatmul` for each layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.architectures.graph import Expert, GraphConfig
from qdeploy.exporters.native.openvino.ir import Value
from qdeploy.exporters.native.openvino.operations import DYNAMIC, Operations
from qdeploy.exporters.native.openvino.weights import Weights


def experts(
    ops: Operations,
    weights: Weights,
    config: GraphConfig,
    x: Value,
    router: str,
    blocks: Sequence[Expert],
) -> Value:
    """Apply the block to x, float32 [B, L, H]. Below, R = B * L and E is the number of experts."""
    hidden, count = config.hidden, config.experts
    rows = ops.reshape(x, [-1, hidden])
    copies = ops.graph.add("Tile", [rows, ops.i64([count, 1])], "f32", (DYNAMIC, hidden))
    copies = ops.reshape(copies, [count, -1, hidden])
    gate = _multiply(ops, weights, copies, [e.gate for e in blocks])
    up = _multiply(ops, weights, copies, [e.up for e in blocks])
    inner = ops.elementwise("Multiply", ops.unary("Swish", gate, opset="opset4"), up)
    output = _multiply(ops, weights, inner, [e.down for e in blocks])
    output = ops.reshape(output, [count, -1, hidden])
    routing = _routing_weights(
        ops, config, ops.matmul(rows, weights.matrix(router), transpose=True)
    )
    weighed = ops.elementwise("Multiply", output, routing)
    total = ops.reduce("ReduceSum", weighed, 0, keep=False)
    return ops.graph.add("Reshape", [total, ops.shape_of(x)], "f32", x.shape, special_zero=False)


def _multiply(ops: Operations, weights: Weights, x: Value, names: list[str]) -> Value:
    """Multiply x [E, R, K] by each expert's matrix [N, K]; gives [E, R, N]."""
    stack = weights.stack(tuple(names))
    layer = names[0].replace(".0.", ".", 1).removesuffix(".weight")
    return ops.matmul(x, stack, transpose=True, name=layer)


def _routing_weights(ops: Operations, config: GraphConfig, logits: Value) -> Value:
    """Routing weights [E, R, 1] from the router's logits [R, E]; zero beyond the top k."""
    graph, shape = ops.graph, (DYNAMIC, config.top_k)
    probabilities = graph.add("SoftMax", [logits], "f32", logits.shape, opset="opset8", axis=-1)
    weights, experts = graph.add_many(
        "TopK", [probabilities, ops.i64(config.top_k)], [("f32", shape), ("i64", shape)],
        opset="opset11", axis=-1, mode="max", sort="value", index_element_type="i64", stable=False,
    )  # fmt: skip
    if config.renormalize:
        total = ops.reduce("ReduceSum", weights, -1, keep=True)
        weights = ops.elementwise("Divide", weights, total)
    rows = ops.gather(ops.shape_of(experts), ops.i64([0]), 0)
    zeros = ops.broadcast(
        ops.f32(0.0), ops.concat([rows, ops.i64([config.experts])], 0), logits.shape
    )
    scattered = graph.add(
        "ScatterElementsUpdate", [zeros, experts, weights, ops.i64(1)], "f32", logits.shape,
        opset="opset12", reduction="none", use_init_val=True,
    )  # fmt: skip
    by_expert = ops.reshape(ops.transpose(scattered, [1, 0]), [config.experts, -1])
    return ops.graph.add("Unsqueeze", [by_expert, ops.i64(-1)], "f32", (config.experts, DYNAMIC, 1))
