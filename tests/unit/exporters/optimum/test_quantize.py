"""The second step for real: a small float graph in, the planned precisions out, or a refusal."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.backends.openvino.isa import limited_properties
from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum import graph, steps
from qdeploy.exporters.optimum import quantize as step
from qdeploy.exporters.optimum.job import SCRATCH, Job, Matrix
from qdeploy.quantization.precision import Precision

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("openvino", "nncf")),
        reason="openvino and nncf are not installed",
    ),
    pytest.mark.filterwarnings("ignore"),  # of libraries that are not this project's to mend
    pytest.mark.usefixtures("quiet"),
]


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the libraries from calling home."""
    for name, value in steps.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


FP16 = Precision(dtype="fp16")
INT8 = Precision(dtype="int8")
ROWS, COLUMNS = 96, 128
EMBEDDING, LINEAR, ROUTER = (
    f"model.{name}.weight" for name in ("embed_tokens", "layers.0.mlp.up_proj", "layers.0.mlp.gate")
)
IN_GRAPH = {
    EMBEDDING: "self.model.embed_tokens._openvino_orig_weight",
    LINEAR: "self.model.layers.0.mlp.up_proj._openvino_orig_weight",
    ROUTER: "self.model.layers.0.mlp.gate.weight",
}
SHAPES = {EMBEDDING: (ROWS, COLUMNS), LINEAR: (COLUMNS, COLUMNS), ROUTER: (4, COLUMNS)}


def values() -> dict[str, NDArray[np.float32]]:
    """The weights: what bfloat16 can hold, so that only quantizing changes them."""
    random = np.random.default_rng(0)
    drawn = {n: random.standard_normal(s, dtype=np.float32) for n, s in SHAPES.items()}
    return {n: (v.view(np.uint32) & 0xFFFF0000).view(np.float32) for n, v in drawn.items()}


def write_float_graph(file: Path, weights: dict[str, NDArray[np.float32]]) -> None:
    """A graph as optimum-intel leaves it: tied embedding, bfloat16 matrices, a float32 router."""
    import openvino as ov
    from openvino import opset13 as ops

    def constant(name: str, *, half: bool) -> Any:
        node = ops.constant(weights[name], ov.Type.bf16 if half else ov.Type.f32)
        node.set_friendly_name(IN_GRAPH[name])
        return ops.convert(node, ov.Type.f32) if half else node

    ids = ops.parameter([-1], ov.Type.i64, name="input_ids")
    embedding = constant(EMBEDDING, half=True)
    hidden = ops.gather(embedding, ids, ops.constant(0))
    hidden = ops.matmul(hidden, constant(LINEAR, half=True), False, True)
    router = ops.matmul(hidden, constant(ROUTER, half=False), False, True)
    logits = ops.matmul(hidden, embedding, False, True)
    model = ov.Model([ops.result(logits), ops.result(router)], [ids], "made-up")
    model.set_rt_info(
        {"ACTIVATIONS_SCALE_FACTOR": "8.0", "KV_CACHE_PRECISION": "f16"}, "runtime_options"
    )
    file.parent.mkdir(parents=True)
    ov.save_model(model, file, compress_to_fp16=False)


def quantize_job(folder: Path, precisions: dict[str, Precision], kv_cache: str = "u8") -> Job:
    return Job(
        step="quantize", checkpoint=folder, folder=folder,
        architecture="Qwen3ForCausalLM", model_type="qwen3", kv_cache=kv_cache, memory_bytes=0,
        matrices=tuple(
            Matrix(name=n, shape=SHAPES.get(n, (8, 8)), precision=p) for n, p in precisions.items()
        ),
    )  # fmt: skip


def quantize(folder: Path, precisions: dict[str, Precision], kv_cache: str = "u8") -> Job:
    """Do the step on the graph in *folder*, in this process."""
    job = quantize_job(folder, precisions, kv_cache)
    step.quantize(job, lambda title: None)
    return job


def with_worker(job: Job) -> None:
    """Do the step in a process of its own, as an export does."""
    steps.run_step(job, stage=lambda title: None, tick=lambda: None)


def stored(file: Path) -> dict[str, str]:
    import openvino as ov

    found = {c.name: c.stored for c in graph.weights(ov.Core().read_model(file))}
    return {name: found[constant] for name, constant in IN_GRAPH.items()}


def outputs(file: Path) -> list[NDArray[np.float32]]:
    import openvino as ov

    model = ov.Core().compile_model(
        file, "CPU", {**limited_properties(os.environ), "INFERENCE_PRECISION_HINT": "f32"}
    )
    return [np.array(x) for x in model(np.arange(16)).values()]


@pytest.mark.parametrize(
    ("embedding", "linear", "router", "error"),
    [
        (INT8, Precision(dtype="int4", group_size=64), FP16, 0.15),
        (INT8, Precision(dtype="int4", symmetric=True), Precision(dtype="int8"), 0.25),
        (FP16, Precision(dtype="nf4"), FP16, 0.2),
        (Precision(dtype="int8", symmetric=True), INT8, FP16, 0.02),
        (Precision(dtype="int4", group_size=32), Precision(dtype="int4", group_size=32), FP16, 0.2),
        (FP16, FP16, FP16, 1e-3),
    ],
    ids=str,
)
def test_every_weight_is_stored_as_planned(
    tmp_path: Path, embedding: Precision, linear: Precision, router: Precision, error: float
) -> None:
    planned = {EMBEDDING: embedding, LINEAR: linear, ROUTER: router}
    write_float_graph(tmp_path / SCRATCH / "openvino_model.xml", values())
    job = quantize(tmp_path, planned)
    assert stored(job.model) == {name: str(p) for name, p in planned.items()}
    for got, wanted in zip(outputs(job.model), outputs(job.float_model), strict=True):
        assert np.linalg.norm(got - wanted) < error * np.linalg.norm(wanted)


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write_float_graph(tmp_path / "a" / SCRATCH / "openvino_model.xml", values())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    line = {EMBEDDING: INT8, LINEAR: INT8, ROUTER: FP16}
    for name in "ab":
        with_worker(quantize_job(tmp_path / name, line))
    for file in ("openvino_model.xml", "openvino_model.bin"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(("kv_cache", "written"), [("u8", None), ("fp16", "f16"), ("fp32", "f32")])
def test_the_cache_is_of_the_profiles_type(
    tmp_path: Path, kv_cache: str, written: str | None
) -> None:
    import openvino as ov

    write_float_graph(tmp_path / SCRATCH / "openvino_model.xml", values())
    every = {EMBEDDING: INT8, LINEAR: INT8, ROUTER: FP16}
    job = quantize(tmp_path, every, kv_cache=kv_cache)
    model = ov.Core().read_model(job.model)
    options = dict(model.get_rt_info("runtime_options").value)
    assert options.get("KV_CACHE_PRECISION") == written
    assert options["ACTIVATIONS_SCALE_FACTOR"] == "8.0"
    assert set(model.get_rt_info("nncf").value) == {"version"}


def test_a_tensor_that_the_graph_lacks_is_named(tmp_path: Path) -> None:
    write_float_graph(tmp_path / SCRATCH / "openvino_model.xml", values())
    with pytest.raises(ExportFailed, match="in 0 constants, not 1") as told:
        quantize(tmp_path, {EMBEDDING: INT8, LINEAR: INT8, ROUTER: FP16, "lm_head.weight": INT8})
    assert told.value.where == "lm_head.weight"


def test_a_value_too_large_for_fp16_is_refused(tmp_path: Path) -> None:
    weights = values()
    weights[ROUTER][0, 0] = 1e6
    write_float_graph(tmp_path / SCRATCH / "openvino_model.xml", weights)
    with pytest.raises(ExportFailed, match="too large for fp16") as told:
        quantize(tmp_path, {EMBEDDING: INT8, LINEAR: INT8, ROUTER: FP16})
    assert told.value.where == IN_GRAPH[ROUTER]
