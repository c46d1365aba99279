"""Integer codes and scales as files hold them, read with the formats' own libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import deserialize

from qdeploy.planning.plan import Plan
from qdeploy.quantization.matrix import quantize
from tests.support import tiny
from tests.support.calibrated import negate


class Codes(NamedTuple):
    """Rows of quantized weights: codes less their zero points [N, K], and scales [N, G]."""

    integers: NDArray[np.int32]
    scales: NDArray[np.float32]


BYTES_OF = {"I64": "<i8", "I32": "<i4", "F32": "<f4", "F16": "<f2", "I8": "i1"}
"""NumPy's types by the names of safetensors; of all others, the bytes."""
GROUPED = {
    "int4 asym g32": '{ dtype = "int4", group_size = 32 }',
    "int4 sym g32": '{ dtype = "int4", group_size = 32, symmetric = true }',
    "int8 asym g32": '{ dtype = "int8", group_size = 32 }',
    "int8 sym g32": '{ dtype = "int8", group_size = 32, symmetric = true }',
}
BY_ROW = {"int8 asym": '{ dtype = "int8" }', "int8 sym": '{ dtype = "int8", symmetric = true }'}
"""Precisions as tables of profiles, by how plans name them."""
Found = Iterator[tuple[str, Codes]]
"""The name of the first tensor, and rows of it and of those that lie with it."""


def less_points(codes: Any, points: Any, scales: Any) -> Codes:
    """*codes* [N, K] less the zero points [N, G] of their groups."""
    repeats = codes.shape[1] // scales.shape[1]
    integers = codes.astype(np.int32) - points.astype(np.int32).repeat(repeats, axis=1)
    return Codes(integers, scales.astype(np.float32))


def planned_codes(plan: Plan, config: Mapping[str, Any]) -> dict[str, Codes]:
    """The codes of every quantized weight of a tiny checkpoint, by its name.

    They are what `quantize` makes of it, or the stand-in's where the plan calibrates it.
    """
    weights, found = tiny.draw(config), {}
    for tensor in plan.tensors:
        if tensor.precision.dtype != "fp16":
            made = quantize(weights[tensor.source], tensor.precision)
            made = negate(made) if tensor.calibrated else made
            points = np.zeros(made.scales.shape) if made.zero_points is None else made.zero_points
            found[tensor.name] = less_points(made.codes, points, made.scales)
    return found


def in_openvino(folder: Path) -> Found:
    """Read as OpenVINO itself reads it: constants of the graph."""
    ov = pytest.importorskip("openvino")
    model = ov.Core().read_model(folder / "openvino_model.xml")
    parts = {c.get_friendly_name(): c for c in model.get_ops() if c.get_type_name() == "Constant"}
    for name in [n for n in parts if n.endswith("/scale")]:
        weight = name.removesuffix("/scale")
        scales = parts[name].get_data()
        rows = int(np.prod(scales.shape[: 2 if ".experts." in weight else 1]))
        point = parts.get(f"{weight}/zero_point")
        zeros = np.zeros(scales.shape) if point is None else point.get_data(dtype=np.int32)
        codes = parts[weight].get_data(dtype=np.int32)
        yield weight, less_points(*(x.reshape(rows, -1) for x in (codes, zeros, scales)))


def in_safetensors(folder: Path) -> Found:
    """Read with the `safetensors` library, and unpacked a number at a time."""
    parts: dict[str, Any] = {}
    for path in folder.glob("*.safetensors"):
        for name, tensor in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
            stored = np.frombuffer(tensor["data"], BYTES_OF.get(tensor["dtype"], "u1"))
            parts[name] = stored.reshape(*tensor["shape"][:-1], -1)
    for name in [n for n in parts if n.endswith(".weight_scale")]:
        weight, scales = name.removesuffix("_scale"), parts[name]
        packed, zeros = parts.get(f"{weight}_packed"), np.zeros(scales.shape)
        if packed is None:
            yield weight, less_points(parts[weight], zeros, scales)
            continue
        rows, columns = parts[f"{weight}_shape"].tolist()
        bits = 32 * packed.shape[1] // columns
        codes = unpack(packed.view(np.uint8), bits)[:, :columns]
        zeros = np.full(scales.shape, 2 ** (bits - 1))
        if (points := parts.get(f"{weight}_zero_point")) is not None:
            across = np.ascontiguousarray(points.T).view(np.uint8)
            zeros = unpack(across, bits)[:, :rows].T
        yield weight, less_points(codes, zeros, scales)


def in_onnx(folder: Path, file: str) -> Found:
    """Read with the `onnx` library, and unpacked a number at a time."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(folder / file))
    parts = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        inputs: list[Any] = [parts.get(name) for name in node.input]
        names = list(node.input)
        if node.op_type == "MatMulNBits":
            yield _blocks(node, names[1], inputs[1:4], "bits")
        elif node.op_type == "GatherBlockQuantized":
            yield _blocks(node, names[0], [inputs[0], *inputs[2:4]], "bits")
        elif node.op_type == "QMoE":
            for first, last in ((2, 11), (5, 12)):
                some = [inputs[first], inputs[first + 1], inputs[last]]
                yield _blocks(node, names[first], some, "expert_weight_bits")
        elif node.op_type == "DequantizeLinear":
            codes, scales, *points = inputs
            zeros = points[0] if points else np.zeros(len(scales))
            weight = names[0].removesuffix("/codes")
            yield weight, less_points(codes, zeros[:, None], scales[:, None])


def _blocks(node: Any, name: str, inputs: list[Any], bits_name: str) -> tuple[str, Codes]:
    """Codes, scales and perhaps zero points of blocks, of any number of axes before the last."""
    bits = next(a.i for a in node.attribute if a.name == bits_name)
    scales = inputs[1].reshape(-1, inputs[1].shape[-1])
    codes = unpack(inputs[0].reshape(len(scales), -1), bits)
    zeros = np.full(scales.shape, 2 ** (bits - 1))
    if len(inputs) > 2 and inputs[2] is not None:
        zeros = unpack(inputs[2].reshape(len(scales), -1), bits)[:, : scales.shape[1]]
    return name.rpartition("/")[0], less_points(codes, zeros, scales)


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """Numbers of each row, one after the other, low bits first."""
    shifts, mask = range(0, 8, bits), 2**bits - 1
    rows = [[byte >> shift & mask for byte in row for shift in shifts] for row in packed.tolist()]
    return np.array(rows, np.int32)


def together(first: str, rows: int, wanted: Mapping[str, Codes]) -> Codes:
    """The weights that begin with *first* as they lie in the file, *rows* in all."""
    names = [first]
    if rows > len(wanted[first].integers):
        for kinds in (("q", "k", "v"), ("gate", "up")):
            if f".{kinds[0]}_proj" in first:
                names = [first.replace(f".{kinds[0]}_proj", f".{k}_proj") for k in kinds]
    if ".experts.0." in first and rows > len(wanted[first].integers):
        count = sum(".layers.0.mlp.experts." in n and ".gate_proj" in n for n in wanted)
        names = [first.replace(".experts.0.", f".experts.{i}.") for i in range(count)]
        interleaved = rows // sum(len(wanted[n].integers) for n in names)
        if interleaved == 2:  # rows of gate and up alternate
            pairs = [(wanted[n], wanted[n.replace("gate_proj", "up_proj")]) for n in names]
            return _joined([Codes(*map(_interleave, gate, up)) for gate, up in pairs])
    return _joined([wanted[n] for n in names])


def _interleave(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    return np.stack([one, other], axis=1).reshape(-1, one.shape[1])


def _joined(parts: list[Codes]) -> Codes:
    return Codes(*map(np.concatenate, zip(*parts, strict=True)))


def check_codes(found: Found, wanted: Mapping[str, Codes]) -> None:
    """Compare every number that is found with the wanted ones, and that none is missing."""
    seen = 0
    for name, codes in found:
        right = together(name, len(codes.integers), wanted)
        np.testing.assert_array_equal(codes.integers, right.integers, err_msg=name)
        repeats = codes.scales.shape[1] // right.scales.shape[1]
        np.testing.assert_array_equal(codes.scales, right.scales.repeat(repeats, 1), err_msg=name)
        seen += codes.integers.size
    assert seen >= sum(w.integers.size for w in wanted.values())
