"""Lists the weights of an OpenVINO graph and their precisions. Runs in the worker."""

from __future__ import annotations

from typing import Any

from qdeploy.exporters.optimum.slots import Constant
from qdeploy.quantization.precision import PER_CHANNEL, DType, Precision

CODES: dict[str, DType] = {"u4": "int4", "i4": "int4", "u8": "int8", "i8": "int8", "nf4": "nf4"}
FLOATS = {"f16": "fp16", "bf16": "bf16", "f32": "fp32"}


def weights(model: Any) -> list[Constant]:
    """Return every weight of an `openvino.Model` that is a matrix or a stack of matrices."""
    found: list[Constant] = []
    parameters: set[str] = set()
    constants = [op for op in model.get_ordered_ops() if op.get_type_name() == "Constant"]
    for op in constants:
        if op.get_element_type().get_type_name() in CODES and (chain := _decompression(op)):
            found.append(_quantized(op, chain))
            parameters.update(p.get_friendly_name() for p in _parameters(chain))
    for op in constants:
        kind = op.get_element_type().get_type_name()
        shape = tuple(op.get_output_shape(0))
        if kind in FLOATS and _is_matrix(shape) and op.get_friendly_name() not in parameters:
            found.append(Constant(op.get_friendly_name(), shape, FLOATS[kind]))
    return found


def _is_matrix(shape: tuple[int, ...]) -> bool:
    """Return whether at least two dimensions are larger than one; a broadcast vector has one."""
    return sum(size > 1 for size in shape) > 1


def _decompression(codes: Any) -> list[Any]:
    """Return the nodes that decompress integer codes to floats, in order; empty without codes.

    They are Convert, Subtract (with a zero point), Multiply, and Reshape (with groups). The codes
    are the first operand of each node, while zero points are a second operand.
    """
    chain: list[Any] = []
    node = codes
    for kind, required in (
        ("Convert", True), ("Subtract", False), ("Multiply", True), ("Reshape", False),
    ):  # fmt: skip
        inputs = [i for i in node.output(0).get_target_inputs() if i.get_index() == 0]
        following = [i.get_node() for i in inputs if i.get_node().get_type_name() == kind]
        if following:
            node = following[0]
            chain.append(node)
        elif required:
            return []
    return chain


def _parameters(chain: list[Any]) -> list[Any]:
    """Return the constants of scales and zero points, which are second operands."""
    operands = [n.input_value(1).get_node() for n in chain if n.get_input_size() == 2]
    return [o.input_value(0).get_node() if o.get_type_name() == "Convert" else o for o in operands]


def _quantized(codes: Any, chain: list[Any]) -> Constant:
    kinds = [node.get_type_name() for node in chain]
    dtype = CODES[codes.get_element_type().get_type_name()]
    stored = tuple(codes.get_output_shape(0))
    grouped = kinds[-1] == "Reshape"
    scale = chain[kinds.index("Multiply")].input_value(1)
    # without validation, since the graph may hold a precision that no profile allows
    precision = Precision.model_construct(
        dtype=dtype,
        symmetric=dtype != "nf4" and "Subtract" not in kinds,
        group_size=stored[-1] if grouped else PER_CHANNEL,
    )
    one_each = tuple(scale.get_shape()) == (*stored[:-1], 1)
    label = str(precision) if one_each else f"{precision} with scales {list(scale.get_shape())}"
    return Constant(codes.get_friendly_name(), tuple(chain[-1].get_output_shape(0)), label)
