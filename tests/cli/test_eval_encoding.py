"""`qdeploy eval` of models that embed or rerank, on ONNX Runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.command import QuickCommand
from tests.support.encoding import float_profile, write_embedding, write_reranker

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]")


def export(quick: QuickCommand, profile: str, output: str) -> None:
    done = quick("export", "model", "--target", "cpu", "--profile", profile, "-o", output)
    assert done.code == 0, done.stderr


def test_an_embedding_model(quick: QuickCommand, here: Path) -> None:
    write_embedding(here / "model")
    float_profile(here / "float.toml", "onnx")
    export(quick, "cpu-int8", "int8")
    export(quick, "float.toml", "float")
    [exact] = quick("eval", "float", "--reference", "model", "--json").json["results"]
    assert exact["kind"] == "encoding"
    assert exact["cosine"]["min"] > 0.99999
    assert exact["rank_correlation"] > 0.99
    assert exact["top1_agreement"] == 1
    assert exact["score_difference"] is None
    arguments = ("--json", "-o", "found.json", "--windows", "8")
    [rounded] = quick("eval", "int8", "--reference", "model", *arguments).json["results"]
    assert 0.9 < rounded["cosine"]["min"] < exact["cosine"]["min"]
    assert rounded["text"]["documents"] == 8
    quick("eval", "int8", "--reference", "model", "--min-cosine", "0.99999", "--json")
    [pair] = quick("eval", "float", "int8", "--json").json["results"]
    assert pair["reference"]["kind"] == "bundle"
    page = quick("report", "found.json", "-o", "page")
    assert page.code == 0, page.stderr
    assert "Embedding and reranking" in (here / "page" / "report.md").read_text(encoding="utf-8")


def test_a_limit_that_is_not_met(quick: QuickCommand, here: Path) -> None:
    write_embedding(here / "model")
    export(quick, "cpu-int4", "bundle")
    done = quick("eval", "bundle", "--reference", "model", "--min-cosine", "0.9999")
    assert done.code == 4
    assert "cosine to the reference, smallest" in done.stdout
    assert "on prose, smallest cosine" in done.stderr


def test_a_reranking_model(quick: QuickCommand, here: Path) -> None:
    write_reranker(here / "model")
    float_profile(here / "float.toml", "onnx")
    export(quick, "float.toml", "bundle")
    found = quick("eval", "bundle", "--reference", "model", "--windows", "6", "--json")
    [exact] = found.json["results"]
    assert exact["cosine"] is None
    assert exact["score_difference"]["max"] < 1e-4
    assert exact["rank_correlation"] > 0.99


@pytest.mark.parametrize(
    "option", [("--heldout", "3"), ("--window", "9"), ("--max-kl", "1"), ("--min-top1", "0.5")]
)
def test_options_of_models_that_generate(
    option: tuple[str, str], quick: QuickCommand, here: Path
) -> None:
    write_embedding(here / "model")
    export(quick, "cpu-int8", "bundle")
    done = quick("eval", "bundle", "--reference", "model", *option)
    done.fails(2, f"{option[0]} is not for a model to embed", f"leave out {option[0]}")
