"""The OpenVINO graph is well formed, and the CPU plugin fuses all that it can fuse."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.native import FLOAT, export, resolve
from tests.support.running import Model
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE

INT4 = '{ dtype = "int4", group_size = 32 }'
INT4_SYM = '{ dtype = "int4", symmetric = true }'
INT8 = '{ dtype = "int8" }'


@pytest.mark.parametrize("precision", [FLOAT, INT4, INT4_SYM, INT8])
class TestFusion:
    def test_dense(self, precision: str, made: Callable[..., Path], tmp_path: Path) -> None:
        plan = resolve(made(DENSE), linear=precision, embedding=precision)
        count = Model(export(plan, tmp_path / "bundle")).operators()
        layers = DENSE["num_hidden_layers"]
        assert count["ScaledDotProductAttention"] == layers
        assert count["RoPE"] == 2 * layers
        assert count["RMS"] == 4 * layers + 1
        assert count["FullyConnected"] == 7 * layers + 1

    @pytest.mark.parametrize("config", [QWEN2, LLAMA], ids=["qwen2", "llama"])
    def test_other_families(
        self, precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
    ) -> None:
        """Biases are part of the products, so they add no operator."""
        plan = resolve(made(config), linear=precision, embedding=precision)
        count = Model(export(plan, tmp_path / "bundle")).operators()
        layers = config["num_hidden_layers"]
        assert count["ScaledDotProductAttention"] == layers
        assert count["RoPE"] == 2 * layers
        assert count["RMS"] == 2 * layers + 1
        assert count["FullyConnected"] == 7 * layers + 1
        assert count["Eltwise"] == 4 * layers + 1

    def test_experts(self, precision: str, made: Callable[..., Path], tmp_path: Path) -> None:
        plan = resolve(made(SPARSE), linear=precision, embedding=precision)
        count = Model(export(plan, tmp_path / "bundle")).operators()
        layers = SPARSE["num_hidden_layers"]
        assert count["ScaledDotProductAttention"] == layers
        assert count["RoPE"] == 2 * layers
        assert count["RMS"] == 4 * layers + 1
        assert count["GatherMatmul"] == 3 * layers
        assert count["FullyConnected"] == 5 * layers + 1  # the router is one of them


@pytest.fixture(params=[DENSE, SPARSE, QWEN2], ids=["dense", "experts", "qwen2"])
def bundle(request: Any, made: Callable[..., Path], tmp_path: Path) -> Path:
    return export(resolve(made(request.param), linear=INT4, embedding=INT8), tmp_path / "bundle")


def test_types_and_shapes_are_those_that_the_runtime_infers(bundle: Path) -> None:
    """A viewer such as Netron shows the written ones; the runtime infers them again."""
    ov = pytest.importorskip("openvino")
    file = bundle / "openvino_model.xml"
    inferred = {}
    for node in ov.Core().read_model(str(file)).get_ops():
        shapes = [[_size(n) for n in port.get_partial_shape()] for port in node.outputs()]
        types = [port.get_element_type().get_type_name() for port in node.outputs()]
        inferred[node.get_friendly_name()] = list(zip(types, shapes, strict=True))
    written = {
        layer.attrib["name"]: [
            (_type(port.attrib["precision"]), [int(dim.text or "") for dim in port])
            for port in layer.findall("output/port")
        ]
        for layer in ET.parse(file).getroot().findall("layers/layer")  # noqa: S314
    }
    assert written.keys() == inferred.keys()
    differing = {
        name: (written[name], inferred[name])
        for name in written
        if name != "logits" and not _agree(written[name], inferred[name])  # a Result has no output
    }
    assert differing == {}


def _size(dimension: Any) -> int:
    return int(dimension.get_length()) if dimension.is_static else -1


def _type(precision: str) -> str:
    return {"fp32": "f32", "fp16": "f16", "bool": "boolean"}.get(
        precision.lower(), precision.lower()
    )


def _agree(written: list[Any], inferred: list[Any]) -> bool:
    """Equal, but that a size known to one of them may be unknown to the other."""
    if [t for t, _ in written] != [t for t, _ in inferred]:
        return False
    pairs = zip(written, inferred, strict=True)
    return all(
        len(one) == len(other)
        and all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))
        for (_, one), (_, other) in pairs
    )


def test_inputs_outputs_and_variables_have_the_names_that_openvino_genai_looks_for(
    bundle: Path,
) -> None:
    ov = pytest.importorskip("openvino")
    model = ov.Core().read_model(str(bundle / "openvino_model.xml"))
    names = {name for port in model.inputs for name in port.names}
    assert names == {"input_ids", "attention_mask", "position_ids", "beam_idx"}
    assert [port.any_name for port in model.outputs] == ["logits"]
    variables = {sink.get_variable_id() for sink in model.get_sinks()}
    assert variables == {
        f"past_key_values.{layer}.{which}present.{layer}.{which}"
        for layer in range(DENSE["num_hidden_layers"])
        for which in ("key", "value")
    }


def test_two_exports_are_equal_byte_for_byte(made: Callable[..., Path], tmp_path: Path) -> None:
    folders = [
        export(resolve(made(SPARSE), linear=INT4, embedding=INT8), tmp_path / name)
        for name in ("one", "other")
    ]
    names = [sorted(p.name for p in folder.iterdir() if p.is_file()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
