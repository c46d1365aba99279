"""`onnx-static` bundles have only operators that their compiling engines support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy import models, registry
from qdeploy.checkpoint import hub
from qdeploy.exporters.native import NativeExporter
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile, profile_names
from tests.support.native import export

LISTS = Path(__file__).parents[1] / "support" / "operators"
ENGINES = {"ascend": ("cann", 15), "rocm": ("migraphx", 19)}
"""The list of an engine's operators, and the newest opset that it reads."""
PROFILES = [n for n in profile_names() if load_profile(n).format == "onnx-static"]


def operators(engine: str) -> set[str]:
    lines = (LISTS / f"{engine}.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module", params=[(p, m) for p in PROFILES for m in models.EMBEDDED], ids=str)
def bundle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Any]]:
    """A target, and the graphs of a shipped profile for it."""
    onnx = pytest.importorskip("onnx")
    name, model = request.param
    shipped = load_profile(name)
    target = registry.target(shipped.target)
    resolved = make_plan(hub.resolve(model), shipped, target, context=512)
    assert NativeExporter().why_not(resolved) is None
    folder = export(resolved, tmp_path_factory.mktemp("static") / "bundle")
    graphs = [onnx.load(str(f), load_external_data=False) for f in sorted(folder.glob("*.onnx"))]
    return target.name, graphs


def test_there_are_profiles_for_both_engines() -> None:
    assert {load_profile(name).target for name in PROFILES} == set(ENGINES)


def test_every_operator_is_in_the_engines_list(bundle: tuple[str, list[Any]]) -> None:
    target, graphs = bundle
    engine, newest = ENGINES[target]
    for model in graphs:
        used = {node.op_type for node in model.graph.node}
        assert used <= operators(engine)
        for opset in model.opset_import:
            assert opset.domain == "com.microsoft" or opset.version <= newest
        if target == "ascend":
            assert {node.domain for node in model.graph.node} == {""}


def test_every_shape_is_a_constant(bundle: tuple[str, list[Any]]) -> None:
    for model in bundle[1]:
        for value in (*model.graph.input, *model.graph.output):
            assert all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)


def test_migraphx_reads_no_shape_that_is_computed(bundle: tuple[str, list[Any]]) -> None:
    """Its parser takes the shapes of these operators from constants only, and no zero points."""
    target, graphs = bundle
    for model in graphs if target == "rocm" else []:
        constants = {i.name for i in model.graph.initializer}
        constants |= {o for n in model.graph.node if n.op_type == "Constant" for o in n.output}
        for node in model.graph.node:
            if node.op_type in ("Reshape", "Expand"):
                assert node.input[1] in constants
            if node.op_type == "MatMulNBits":
                attributes = {a.name: a.i for a in node.attribute}
                assert attributes["bits"] == 4
                assert attributes["block_size"] >= 16
                assert len(node.input) == 3
