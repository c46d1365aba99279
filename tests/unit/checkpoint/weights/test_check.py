"""The tensors that a config requires, and the messages for those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy import models
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights, expected_tensors
from qdeploy.errors import CheckpointError
from tests.support import tiny
from tests.support.checkpoints import MOE, SMALL, Shapes, shapes, write_checkpoint, write_sidecars
from tests.support.weights import BLOCK, FP8_CONFIG, RawTensor, save, save_checkpoint

UNTIED = SMALL | {"tie_word_embeddings": False}
SPARSE = SMALL | MOE


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_weights(read_checkpoint(folder))
    return str(caught.value)


def expected_shapes(checkpoint: Checkpoint) -> Shapes:
    return {name: tensor.shape for name, tensor in expected_tensors(checkpoint).items()}


def rewrite(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", models.EMBEDDED)
def test_the_embedded_models_fit(name: str) -> None:
    made = read_checkpoint(models.path(name))
    check_weights(made)
    assert expected_shapes(made) == {t.name: t.shape for t in made.tensors}


@pytest.mark.parametrize(
    "config",
    [SMALL, UNTIED, SPARSE, tiny.QWEN2, tiny.LLAMA],
    ids=["tied", "untied", "experts", "qwen2", "llama"],
)
def test_the_shapes_are_those_of_the_tests_own_list(tmp_path: Path, config: dict[str, Any]) -> None:
    made = read_checkpoint(write_checkpoint(tmp_path, config))
    check_weights(made)
    assert expected_shapes(made) == shapes(config)


def test_a_qwen2_without_its_biases_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, tiny.LLAMA)
    assert "9 missing: model.layers.0.self_attn.q_proj.bias, " in refusal(
        rewrite(folder, tiny.QWEN2)
    )


def test_a_llama_with_biases_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, tiny.QWEN2)
    assert "9 unexpected: " in refusal(rewrite(folder, tiny.LLAMA))


def layers_with_experts(tmp_path: Path, **settings: Any) -> list[int]:
    write_sidecars(tmp_path, SPARSE | {"num_hidden_layers": 6, **settings})
    save(tmp_path / "model.safetensors", {})
    wanted = expected_shapes(read_checkpoint(tmp_path))
    both = [
        (
            f"model.layers.{n}.mlp.gate.weight" in wanted,
            f"model.layers.{n}.mlp.up_proj.weight" in wanted,
        )
        for n in range(6)
    ]
    assert all(sparse != dense for sparse, dense in both)
    return [n for n, (sparse, _) in enumerate(both) if sparse]


def test_layers_with_experts_follow_the_steps_and_the_exceptions(tmp_path: Path) -> None:
    assert layers_with_experts(tmp_path) == [0, 1, 2, 3, 4, 5]
    assert layers_with_experts(tmp_path, decoder_sparse_step=2) == [1, 3, 5]
    assert layers_with_experts(tmp_path, decoder_sparse_step=3) == [2, 5]
    assert layers_with_experts(tmp_path, mlp_only_layers=[0, 4]) == [1, 2, 3, 5]
    assert layers_with_experts(tmp_path, mlp_only_layers=None) == [0, 1, 2, 3, 4, 5]
    assert layers_with_experts(tmp_path, decoder_sparse_step=2, mlp_only_layers=[3]) == [1, 5]
    assert layers_with_experts(tmp_path, num_experts=0) == []


def test_a_tied_head_may_also_be_stored(tmp_path: Path) -> None:
    head: Shapes = {"lm_head.weight": (SMALL["vocab_size"], SMALL["hidden_size"])}
    check_weights(read_checkpoint(write_checkpoint(tmp_path / "same", extra=head)))


def test_every_kind_of_mistake_is_named_and_counted(tmp_path: Path) -> None:
    wanted = shapes(UNTIED)
    made = {name: RawTensor("F16", np.zeros(shape, np.float16)) for name, shape in wanted.items()}
    del made["lm_head.weight"]
    made["model.norm.weight"] = RawTensor("F16", np.zeros(255, np.float16))
    made["model.layers.0.self_attn.q_proj.bias"] = RawTensor("F16", np.zeros(512, np.float16))
    made["model.layers.1.mlp.up_proj.weight"] = RawTensor("I8", np.zeros((512, 256), np.int8))
    save_checkpoint(tmp_path, made, UNTIED)
    said = refusal(tmp_path)
    assert "1 missing: lm_head.weight\n" in said
    assert "1 unexpected: model.layers.0.self_attn.q_proj.bias\n" in said
    assert "1 of the wrong shape: model.norm.weight [255], not [256]\n" in said
    assert "1 unreadable: model.layers.1.mlp.up_proj.weight is I8; readable are" in said


def test_of_many_mistakes_the_first_few_are_named(tmp_path: Path) -> None:
    folder = rewrite(write_checkpoint(tmp_path), SMALL | {"num_hidden_layers": 4})
    said = refusal(folder)
    assert "22 missing: model.layers.2.input_layernorm.weight, " in said
    assert "and 17 more" in said


def fp8_checkpoint() -> Iterator[tuple[str, RawTensor]]:
    """Projections in FP8, as in Qwen3-*-FP8; the rest in bfloat16."""
    for name, shape in shapes(SMALL).items():
        if len(shape) == 2 and "embed" not in name:
            blocks = tuple(-(-n // BLOCK) for n in shape)
            yield name, RawTensor("F8_E4M3", np.zeros(shape, np.uint8))
            yield f"{name}_scale_inv", RawTensor("BF16", np.zeros(blocks, np.uint16))
        else:
            yield name, RawTensor("BF16", np.zeros(shape, np.uint16))


def test_fp8_comes_with_scales(tmp_path: Path) -> None:
    check_weights(save_checkpoint(tmp_path, dict(fp8_checkpoint()), SMALL | FP8_CONFIG))


def test_fp8_scales_missing_misshapen_or_too_many(tmp_path: Path) -> None:
    made = dict(fp8_checkpoint())
    first, second = [n for n in made if n.endswith("_scale_inv")][:2]
    del made[first]
    made[second] = RawTensor("BF16", np.zeros((1, 1), np.uint16))
    made["model.norm.weight_scale_inv"] = RawTensor("BF16", np.zeros((1, 1), np.uint16))
    save_checkpoint(tmp_path, made, SMALL | FP8_CONFIG)
    said = refusal(tmp_path)
    without, misshapen = (name.removesuffix("_scale_inv") for name in (first, second))
    assert f"2 unreadable: {without} is F8_E4M3, but without scales" in said
    assert f"{misshapen} has scales [1, 1], not [2, 2]\n" in said
    assert f"unexpected: {second.rpartition('.')[0]}" not in said
    assert "model.norm.weight_scale_inv" in said


def test_fp8_that_the_config_does_not_declare(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, dict(fp8_checkpoint()))
    said = refusal(tmp_path)
    assert "14 unreadable: model.layers.0.self_attn.q_proj.weight is F8_E4M3" in said
    assert "14 unexpected: model.layers.0.mlp.down_proj.weight_scale_inv, " in said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_hidden_layers": 2**31 - 1}, "it asks for 2147483647 layers and experts"),
        ({**MOE, "num_experts": 2**30}, "layers and experts; there are"),
        ({"intermediate_size": None}, "'intermediate_size' is missing"),
        ({**MOE, "num_experts": 2, "moe_intermediate_size": None}, "'moe_intermediate_size' is"),
        (
            {**MOE, "decoder_sparse_step": 0},
            "'decoder_sparse_step': input should be greater than 0",
        ),
        ({**MOE, "mlp_only_layers": "all"}, "'mlp_only_layers': input should be a valid tuple"),
    ],
)
def test_an_impossible_config(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    folder = rewrite(write_checkpoint(tmp_path), SMALL | settings)
    assert words in refusal(folder)
