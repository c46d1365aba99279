"""How many bytes a bundle takes in each format, from shapes alone.

A quantized weight of N rows and K columns in groups of g takes N*K*bits/8 bytes of codes, and for
each of its N*ceil(K/g) groups a scale and, where asymmetric, a zero point of the codes' width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from qdeploy.architectures.config import Architecture
from qdeploy.planning.profile import PER_CHANNEL, Graph, Precision

FLOAT_BYTES = {"fp32": 4, "fp16": 2}
OPENVINO_LAYER = 110_000
"""Bytes of openvino_model.xml a layer: 100 to 137 thousand measured on Qwen3 and Qwen3-MoE."""
ONNX_LAYER = 7_500
"""Bytes a layer of one ONNX graph: 6.2 to 9.6 thousand measured on the same, in every form."""
UNROLLED_EXPERT = 2_400
"""Bytes of one ONNX graph that an expert takes which is an operator of its own."""


@dataclass(frozen=True)
class Layout:
    """What a format stores besides codes.

    Attributes:
        scale: bytes of a scale.
        matrix: bytes of an element of a float matrix.
        tokenizer: size of the runtime's own tokenizer files, in sizes of Qwen3's originals.
    """

    scale: int = 2
    matrix: int = 2
    tokenizer: float = 0.0


def layout_of(format: str, graph: Graph) -> Layout:
    """The layout of a bundle format with a profile's choices for the graph."""
    floats = FLOAT_BYTES[graph.activations]
    match format:
        case "openvino":
            return Layout(tokenizer=0.7)
        case "onnx":
            return Layout(scale=floats)
        case "onnx-static":
            return Layout(scale=4, matrix=floats)
    return Layout()


def stored_bytes(shape: tuple[int, ...], precision: Precision, layout: Layout = Layout()) -> int:
    """Bytes that a tensor takes in a bundle at this precision (formula: module docstring)."""
    numel = prod(shape)
    if precision.dtype == "fp16":
        return layout.matrix * numel
    groups_a_row = (
        1 if precision.group_size == PER_CHANNEL else -(-shape[-1] // precision.group_size)
    )
    groups = prod(shape[:-1]) * groups_a_row
    zero_point_bits = 0 if precision.symmetric or precision.dtype == "nf4" else precision.bits
    codes, points = -(-numel * precision.bits // 8), -(-groups * zero_point_bits // 8)
    return codes + groups * layout.scale + points


def graph_bytes(format: str, config: Architecture, graph: Graph, context: int) -> int:
    """Bytes of all that is no weight: graphs, and the table of cosine and sine where there is one.

    That table has two numbers for each position and pair of a head's dimensions.
    """
    layers = config.num_hidden_layers
    if format == "openvino":
        return layers * OPENVINO_LAYER
    if format not in ("onnx", "onnx-static"):
        return 0
    unrolled = (config.num_experts or 0) if graph.experts == "unrolled" else 0
    graphs = 2 * layers * (ONNX_LAYER + unrolled * UNROLLED_EXPERT)
    return graphs + context * config.head_dim * FLOAT_BYTES[graph.activations]
