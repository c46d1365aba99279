"""Graphs of models that embed or rerank, in every format, against NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.planning.plan import Plan
from tests.exporters.variants import CLOSE, VARIANTS, dequantized
from tests.support import forward, tiny
from tests.support.encoding import LABELS, write_classifier, write_embedding, write_reranker
from tests.support.native import export, resolve
from tests.support.running import EXACT
from tests.support.tiny import DENSE, SPARSE

LENGTHS = (7, 30, 1, 18)
HALF_CLOSE = 0.01
QUANTIZED_CLOSE = 1e-3
Vectors = NDArray[np.float32]


class Form(NamedTuple):
    """A format and its choices, as in a profile."""

    format: str
    graph: str = ""


FORMS = {
    "openvino": Form("openvino"),
    "gqa": Form("onnx"),
    "plain": Form("onnx", 'attention = "plain"\nexperts = "unrolled"'),
}


@pytest.fixture(params=[*FORMS.values()], ids=[*FORMS])
def form(request: pytest.FixtureRequest) -> Form:
    chosen: Form = request.param
    return chosen


def sequences() -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 2000, length).tolist() for length in LENGTHS]


def run(folder: Path, form: Form) -> Vectors:
    """What the graph in *folder* makes of all sequences in one batch."""
    ids, mask = np.zeros((2, len(LENGTHS), max(LENGTHS)), np.int64)
    for row, sequence in enumerate(sequences()):
        ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    feed = {"input_ids": ids, "attention_mask": mask}
    found: Vectors
    if form.format == "openvino":
        ov = pytest.importorskip("openvino")
        compiled = ov.Core().compile_model(str(folder / "openvino_model.xml"), "CPU", EXACT)
        found = compiled(feed)[0]
        return found
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, feed)
    return found


def last_states(config: Mapping[str, Any], weights: tiny.Weights) -> Vectors:
    return np.array([forward.hidden(config, weights.__getitem__, s)[-1] for s in sequences()])


def normalized(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_embeddings(variant: str, form: Form, tmp_path: Path) -> None:
    config = VARIANTS[variant]
    if form.format == "onnx" and not form.graph and config["head_dim"] % 16:
        pytest.skip("GroupQueryAttention takes other heads")
    plan = resolve(write_embedding(tmp_path / "it", config), format=form.format, graph=form.graph)
    got = run(export(plan, tmp_path / "bundle"), form)
    assert np.abs(got - normalized(last_states(config, tiny.draw(config)))).max() < CLOSE


def test_embeddings_as_long_as_they_come(form: Form, tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "it", normalize=False)
    plan = resolve(folder, format=form.format, graph=form.graph)
    got = run(export(plan, tmp_path / "bundle"), form)
    assert np.abs(got - last_states(DENSE, tiny.draw(DENSE))).max() < CLOSE


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_scores_of_two_answers(
    config: dict[str, Any], tied: bool, form: Form, tmp_path: Path
) -> None:
    config = config | {"tie_word_embeddings": tied}
    plan = resolve(write_reranker(tmp_path / "it", config), format=form.format, graph=form.graph)
    assert not any(t.name == "lm_head.weight" for t in plan.tensors)
    got = run(export(plan, tmp_path / "bundle"), form)
    weights = tiny.draw(config)
    head = weights["model.embed_tokens.weight" if tied else "lm_head.weight"][list(LABELS)]
    assert np.abs(got - last_states(config, weights) @ head.T).max() < CLOSE


def test_the_score_of_a_classifier(form: Form, tmp_path: Path) -> None:
    plan = resolve(write_classifier(tmp_path / "it"), format=form.format, graph=form.graph)
    got = run(export(plan, tmp_path / "bundle"), form)
    weights = tiny.draw(DENSE, extra={"score.weight": (1, DENSE["hidden_size"])})
    assert np.abs(got - last_states(DENSE, weights) @ weights["score.weight"].T).max() < CLOSE


@pytest.mark.parametrize("precision", ['{ dtype = "int8" }', '{ dtype = "int4", group_size = 32 }'])
def test_codes_are_those_of_a_model_that_generates(
    precision: str, form: Form, tmp_path: Path
) -> None:
    folder = write_embedding(tmp_path / "it")
    plan = resolve(
        folder, linear=precision, embedding=precision, format=form.format, graph=form.graph
    )
    got = run(export(plan, tmp_path / "bundle"), form)
    wanted = normalized(last_states(DENSE, dequantized(plan, tiny.draw(DENSE))))
    assert np.abs(got - wanted).max() < QUANTIZED_CLOSE


@pytest.mark.parametrize("attention", ["gqa", "plain"])
def test_float16_is_close(attention: str, tmp_path: Path) -> None:
    graph = f'attention = "{attention}"\nactivations = "fp16"'
    plan = resolve(write_embedding(tmp_path / "it"), format="onnx", graph=graph)
    got = run(export(plan, tmp_path / "bundle"), Form("onnx"))
    assert got.dtype == np.float32
    assert np.abs(got - normalized(last_states(DENSE, tiny.draw(DENSE)))).max() < HALF_CLOSE


def test_the_bundle_has_no_files_of_a_model_that_generates(
    made: Callable[..., Path], form: Form, tmp_path: Path
) -> None:
    def files(plan: Plan) -> set[str]:
        place = export(plan, tmp_path / plan.task.name)
        return {file.name for file in place.iterdir() if not file.name.startswith(".")}

    embeds = files(resolve(write_embedding(tmp_path / "it"), format=form.format))
    generates = files(resolve(made(DENSE), format=form.format))
    assert embeds < generates
    assert len(embeds) == 2
