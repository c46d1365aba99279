"""The same model under other names and in other layouts has the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights
from qdeploy.errors import CheckpointError
from tests.support import tiny
from tests.support.changed import assert_same, fuse, renamed, values, write
from tests.support.checkpoints import SMALL, shapes, write_checkpoint
from tests.support.tiny import DENSE, SPARSE
from tests.support.weights import RawTensor, f32, save, save_shards

UNTIED = DENSE | {"tie_word_embeddings": False}


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        (r"^model\.", ""),
        ("^", "module."),
        ("^", "_orig_mod."),
        (r"^model\.", "model._orig_mod."),
        (r"layers\.(\d)\.", r"layers.\1._checkpoint_wrapped_module."),
        ("^", "_fsdp_wrapped_module._orig_mod."),
        ("^", "base_model.model."),
        ("^", "pretrained_model."),
        (r"^model\.", "model.language_model."),
        (r"^(model|lm_head)\.", r"language_model.\1."),
        ("^", "model."),
        (r"_proj\.weight", "_proj.base_layer.weight"),
        (r"^lm_head\.", "base_model.model.lm_head.modules_to_save.default."),
    ],
)
@pytest.mark.parametrize("config", [UNTIED, SPARSE], ids=["dense", "experts"])
def test_what_others_add_to_names_is_removed(
    pattern: str, new: str, config: dict[str, Any], tmp_path: Path
) -> None:
    found = write(tmp_path, config, renamed(pattern, new))
    assert_same(found, config)
    assert (found.warnings, found.dropped) == ((), {})


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.rotary_emb.inv_freq",
        "rotary_emb.original_inv_freq",
        "model.layers.0.self_attn.rotary_emb.cos_cached",
        "model.layers.1.self_attn.masked_bias",
        "model.layers.1.self_attn.bias",
        "model.layers.0.self_attn.k_scale",
        "model.layers.0.self_attn.k_proj.k_scale",
        "model.layers.0.mlp.up_proj.input_scale",
        "model.layers.0.self_attn.core_attention._extra_state",
        "optimizer.state.0.exp_avg",
    ],
)
def test_what_is_computed_or_left_over_is_dropped_without_a_word(name: str, tmp_path: Path) -> None:
    found = write(tmp_path, UNTIED, lambda made: made | {name: np.ones(4, np.float32)})
    assert_same(found, UNTIED)
    assert (found.warnings, list(found.dropped)) == ((), [name])


@pytest.mark.parametrize(
    "name",
    [
        "v_head.summary.weight",
        "score.weight",
        "mtp.fc.weight",
        "model.visual.blocks.0.attn.qkv.weight",
        "vision_tower.encoder.layers.0.self_attn.q_proj.weight",
        "model.layers.3.mlp.up_proj.weight",
        "of_a_plugin.weight",
    ],
)
def test_parts_of_another_model_are_left_out_with_a_warning(name: str, tmp_path: Path) -> None:
    found = write(tmp_path, UNTIED, lambda made: made | {name: np.ones((4, 4), np.float32)})
    assert_same(found, UNTIED)
    (warning,) = found.warnings
    assert name in warning
    assert list(found.dropped) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.pre_feedforward_layernorm.weight",
        "module.model.layers.2.mlp.gate.e_score_correction_bias",
        "lm_head.bias",
    ],
)
def test_a_part_of_a_layer_that_the_graph_does_not_have_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"1 unexpected: {name}"):
        write(tmp_path, UNTIED, lambda made: made | {name: np.ones(4, np.float32)})


def test_an_adapter_beside_its_weights_is_refused(tmp_path: Path) -> None:
    extra = {"model.layers.0.self_attn.q_proj.lora_A.default.weight": np.ones((4, 96), np.float32)}
    with pytest.raises(CheckpointError, match="not merged") as caught:
        write(tmp_path, UNTIED, lambda made: made | extra)
    assert "merge_and_unload" in (caught.value.fix or "")


class TestTwoTensorsOfOneWeight:
    copy = "base_model.model.model.norm.original_module.weight"

    def test_that_are_equal_count_once(self, tmp_path: Path) -> None:
        found = write(tmp_path, UNTIED, lambda made: made | {self.copy: made["model.norm.weight"]})
        assert_same(found, UNTIED)
        assert "the same as" in next(iter(found.dropped.values()))

    def test_that_differ_are_refused_with_both_names(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError) as caught:
            write(tmp_path, UNTIED, lambda made: made | {self.copy: 2 * made["model.norm.weight"]})
        assert self.copy in caught.value.what
        assert " model.norm.weight" in caught.value.what


class TestATiedHead:
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"

    def test_that_is_the_embedding_is_stored_for_nothing(self, tmp_path: Path) -> None:
        found = write(tmp_path, DENSE, lambda made: made | {self.head: made[self.embedding]})
        assert_same(found, DENSE)
        assert list(found.dropped) == [self.head]
        assert found.config.tie_word_embeddings

    def test_of_another_type_and_the_same_values(self, tmp_path: Path) -> None:
        found = write(
            tmp_path,
            DENSE,
            lambda made: made | {self.head: RawTensor("F64", made[self.embedding].astype("<f8"))},
        )
        assert_same(found, DENSE)

    @pytest.mark.parametrize("place", [0, -1])
    def test_that_was_trained_apart_is_a_weight_of_its_own(
        self, place: int, tmp_path: Path
    ) -> None:
        def train(made: dict[str, Any]) -> dict[str, Any]:
            head = made[self.embedding].copy()
            head.reshape(-1)[place] += 1
            return made | {self.head: head}

        found = write(tmp_path, DENSE, train)
        wanted = train(dict(tiny.draw(DENSE)))
        assert np.array_equal(values(found)[self.head], wanted[self.head])
        assert not found.config.tie_word_embeddings
        assert "tie_word_embeddings" in found.warnings[0]

    def test_alone_is_the_embedding_too(self, tmp_path: Path) -> None:
        found = write(tmp_path, DENSE, renamed(r"^model\.embed_tokens", "lm_head"))
        assert_same(found, DENSE)

    def test_of_another_shape_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"lm_head.weight \[7, 96\], not \[2048, 96\]"):
            write(tmp_path, DENSE, lambda made: made | {self.head: np.ones((7, 96), np.float32)})


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "bitsandbytes", "of_tomorrow"])
def test_settings_of_a_quantization_that_is_not_there_are_left_over(
    method: str, tmp_path: Path
) -> None:
    config = UNTIED | {"quantization_config": {"quant_method": method}}
    found = write(tmp_path, config, lambda made: made)
    assert_same(found, UNTIED)
    assert f"({method})" in found.warnings[0]


def test_names_of_another_model_are_kept(tmp_path: Path) -> None:
    """They say more than a list of what is missing."""
    folder = write_checkpoint(tmp_path)
    save(folder / "model.safetensors", {"transformer.h.0.attn.c_attn.weight": f32(np.ones((4, 4)))})
    found = read_checkpoint(folder)
    assert list(found.stored.sources) == ["transformer.h.0.attn.c_attn.weight"]
    assert (found.dropped, found.warnings) == ({}, ())


def test_doubles_are_read(tmp_path: Path) -> None:
    name = "model.norm.weight"
    found = write(
        tmp_path, UNTIED, lambda made: made | {name: RawTensor("F64", made[name].astype("<f8"))}
    )
    assert_same(found, UNTIED)


def test_a_small_checkpoint_is_not_all_of_this(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path, SMALL))
    assert {name: s.shape for name, s in found.stored.sources.items()} == shapes(SMALL)
    assert (found.dropped, found.warnings) == ({}, ())


class TestATensorInTwoShards:
    def write(self, folder: Path, factor: float) -> Checkpoint:
        weights = {name: f32(values) for name, values in tiny.draw(UNTIED).items()}
        second = {"model.norm.weight": f32(factor * tiny.draw(UNTIED)["model.norm.weight"])}
        one, two = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
        return save_shards(folder, {one: weights, two: second}, UNTIED)

    def test_that_is_the_same_counts_once(self, tmp_path: Path) -> None:
        found = self.write(tmp_path, 1)
        check_weights(found)
        assert_same(found, UNTIED)

    def test_that_differs_is_refused_with_both_files(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError) as caught:
            check_weights(self.write(tmp_path, 2))
        for number in (1, 2):
            assert f"model-0000{number}-of-00002.safetensors" in caught.value.what


@pytest.mark.parametrize(
    ("change", "known"),
    [
        (lambda made: made, True),
        (renamed(r"^model\.", ""), True),
        (fuse, True),
        (lambda made: renamed(r"^model\.", "")(fuse(made)), True),
        (renamed("^", "module."), False),
        (renamed(r"_proj\.weight", "_proj.base_layer.weight"), False),
        (lambda made: fuse(made, whole=False), False),
        (lambda made: fuse(made, suffix=".weight"), False),
    ],
)
def test_names_that_transformers_does_not_know_are_seen(
    change: Callable[[dict[str, Any]], Any], known: bool, tmp_path: Path
) -> None:
    assert (write(tmp_path, SPARSE, change).wrapped is None) == known
