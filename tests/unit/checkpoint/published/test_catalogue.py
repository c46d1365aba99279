"""The published checkpoints, described offline: names, shapes, and the plans made from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from qdeploy import registry
from qdeploy.checkpoint import hub
from qdeploy.checkpoint.hub import describe
from qdeploy.checkpoint.published.catalogue import Published, find_published
from qdeploy.checkpoint.published.names import published_sizes
from qdeploy.checkpoint.sources.fp8 import E4M3
from qdeploy.errors import CheckpointError, HubError
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import INTEL_CPU
from tests.support.checkpoints import shape_of_0_6b, shapes


class Card(NamedTuple):
    """What a model's card says, in billions, and the exact total that the hub counts."""

    total: float
    without_embedding: float
    active: float
    exact: int


CARDS = {
    "0.6B": Card(0.6, 0.44, 0.6, 596_049_920),
    "1.7B": Card(1.7, 1.4, 1.7, 1_720_574_976),
    "4B": Card(4.0, 3.6, 4.0, 4_022_468_096),
    "8B": Card(8.2, 6.95, 8.2, 8_190_735_360),
    "14B": Card(14.8, 13.2, 14.8, 14_768_307_200),
    "32B": Card(32.8, 31.2, 32.8, 32_762_123_264),
    "30B-A3B": Card(30.5, 29.9, 3.3, 30_532_122_624),
    "235B-A22B": Card(235.1, 234, 22, 235_093_634_560),
}
"""The cards: "Number of Parameters", "(Non-Embedding)" and "Activated" on huggingface.co/Qwen. The
hub counts 0.6B's and 1.7B's lm_head, which those files hold though it is tied; here it is not."""

OTHER_TASKS = {
    "Embedding-0.6B": 595_776_512, "Embedding-4B": 4_021_774_336, "Embedding-8B": 7_567_295_488,
    "Reranker-0.6B": 595_776_512, "Reranker-4B": 4_021_784_576, "Reranker-8B": 8_188_548_096,
}  # fmt: skip
"""Parameters by the hub; also in https://github.com/embeddings-benchmark/mteb, `n_parameters`."""


def billions(count: float, like: float) -> float:
    """*count* in billions, to as many digits as *like* has."""
    digits = len(str(like).partition(".")[2]) if like != int(like) else 0
    return round(count / 1e9, digits)


def found(name: str) -> Published:
    described = find_published(name)
    assert described is not None
    return described


def test_the_eight_published_sizes_are_known() -> None:
    assert published_sizes() == list(CARDS)


@pytest.mark.parametrize("size", CARDS)
def test_parameters_follow_from_the_shapes_as_published(size: str) -> None:
    card, described = CARDS[size], found(size)
    assert described.parameters == card.exact
    assert billions(described.parameters, card.total) == card.total
    tables = {"model.embed_tokens.weight", "lm_head.weight"}
    inner = sum(t.numel for t in described.weights if t.name not in tables)
    assert inner / 1e9 == pytest.approx(card.without_embedding, rel=0.02)


@pytest.mark.parametrize("size", ["30B-A3B", "235B-A22B"])
def test_active_parameters_of_a_mixture_are_as_published(size: str) -> None:
    described = found(size)
    config = described.config
    assert config.num_experts
    assert config.num_experts_per_tok
    experts = sum(t.numel for t in described.weights if ".experts." in t.name)
    idle = experts * (1 - config.num_experts_per_tok / config.num_experts)
    assert (described.parameters - idle) / 1e9 == pytest.approx(CARDS[size].active, rel=0.02)


@pytest.mark.parametrize(("name", "exact"), OTHER_TASKS.items())
def test_models_of_other_tasks_hold_as_much_as_published(name: str, exact: int) -> None:
    described = found(name)
    assert described.name == f"Qwen/Qwen3-{name}"
    assert described.task.name == ("embed" if "Embedding" in name else "rerank")
    assert sum(t.numel for t in described.tensors) == exact
    assert not any(w.name == "lm_head.weight" for w in described.weights)
    made = make_plan(described, load_profile("intel-cpu-int4"), INTEL_CPU)
    assert made.kv_bytes_per_token == 0
    assert made.weight_bytes < made.bundle_bytes < made.weight_bytes * 1.2


def test_the_shapes_are_those_of_a_checkpoint_on_disk() -> None:
    assert {t.name: t.shape for t in found("0.6B").tensors} == shapes(shape_of_0_6b())


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-0.6B", "qwen/qwen3-0.6b", "Qwen3-0.6B", "0.6B", "0.6b"]
)
def test_long_and_short_names_are_one_model(name: str) -> None:
    assert found(name).name == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    ("name", "full", "positions"),
    [
        ("0.6B-Base", "Qwen/Qwen3-0.6B-Base", 32768),
        ("8B-FP8", "Qwen/Qwen3-8B-FP8", 40960),
        ("4b-instruct-2507", "Qwen/Qwen3-4B-Instruct-2507", 262144),
        ("Qwen3-30B-A3B-Thinking-2507-FP8", "Qwen/Qwen3-30B-A3B-Thinking-2507-FP8", 262144),
    ],
)
def test_variants_have_the_shapes_of_their_size(name: str, full: str, positions: int) -> None:
    described = found(name)
    assert described.name == full
    assert described.config.max_position_embeddings == positions
    size = re.sub(r".*Qwen3-|-(Base|Instruct|Thinking).*|-FP8", "", full)
    assert [w.shape for w in described.weights] == [w.shape for w in found(size).weights]


def test_fp8_variants_hold_their_projections_in_fp8() -> None:
    in_fp8 = {t.name for t in found("0.6B-FP8").tensors if t.dtype == E4M3}
    assert "model.layers.0.mlp.up_proj.weight" in in_fp8
    assert not any("norm" in name or "embed" in name for name in in_fp8)
    assert found("0.6B-FP8").nbytes < found("0.6B").nbytes


@pytest.mark.parametrize(
    "name",
    ["", "0.7B", "Qwen/Qwen3-32B-Base", "Qwen/Qwen3-0.6B-Base-FP8", "8B-Instruct-2507",
     "other/Qwen3-0.6B", "Qwen/Qwen3-0.6B-GGUF", "Qwen/Qwen2.5-0.6B", "Qwen/Qwen3-Embedding-1.7B",
     "Embedding-0.6B-FP8", "Qwen/Qwen3-Reranker-8B-Base"],
)  # fmt: skip
def test_unpublished_names_are_not_described(name: str) -> None:
    assert find_published(name) is None


@pytest.mark.parametrize("size", CARDS)
def test_a_plan_needs_no_folder(size: str) -> None:
    made = make_plan(found(size), load_profile("intel-cpu-int4"), INTEL_CPU)
    exporter = registry.exporter("native")
    assert exporter.why_not(made) is None
    assert exporter.peak_memory_bytes(made) > 0
    assert made.weight_bytes < made.bundle_bytes < made.weight_bytes * 1.2
    assert made.summary()["parameters"] == CARDS[size].exact


def test_reading_files_that_are_not_here_is_refused() -> None:
    with pytest.raises(CheckpointError, match="only its shapes are known here"):
        _ = found("0.6B").files()


class TestResolve:
    def test_a_folder_comes_before_a_published_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "0.6B").mkdir()
        with pytest.raises(CheckpointError, match="the folder is empty"):
            describe("0.6B")

    def test_an_embedded_model_is_itself(self) -> None:
        assert describe("qwen3-nano").name == "qwen3-nano"

    def test_an_unknown_hub_id_without_a_network_names_the_eight(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreachable(model: str, **_: object) -> None:
            raise HubError("the model hub could not be reached (ConnectError)", where=model)

        monkeypatch.setattr(hub, "resolve", unreachable)
        with pytest.raises(HubError, match="could not be reached") as caught:
            describe("someone/Qwen3-9B")
        assert all(f"Qwen/Qwen3-{size}" in str(caught.value.fix) for size in CARDS)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("8B-AWQ", "int4 asym g128 (as stored, awq)"),
        ("Qwen/Qwen3-32B-AWQ", "int4 asym g128 (as stored, awq)"),
        ("0.6B-GPTQ-Int8", "int8 sym g128 (as stored, gptq)"),
        ("Qwen3-1.7b-gptq-int8", "int8 sym g128 (as stored, gptq)"),
        ("30B-A3B-GPTQ-Int4", "int4 sym g128 (as stored, gptq)"),
    ],
)
def test_quantized_checkpoints_are_planned_as_they_are_stored(name: str, label: str) -> None:
    described = found(name)
    made = make_plan(described, load_profile("intel-cpu-int4"), INTEL_CPU)
    assert made.summary()["linear"] == label
    size = next(s for s in reversed(CARDS) if s in described.name)
    assert described.parameters == CARDS[size].exact


@pytest.mark.parametrize(
    "name", ["0.6B-AWQ", "8B-GPTQ-Int4", "4B-Base-AWQ", "4B-Instruct-2507-AWQ", "Embedding-8B-AWQ"]
)
def test_quantized_checkpoints_that_there_are_not(name: str) -> None:
    assert find_published(name) is None
