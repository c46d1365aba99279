"""Weights and a config that do not belong together: the fix that is seen, and followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights
from qdeploy.checkpoint.weights.misfit import SAME
from qdeploy.errors import CheckpointError
from tests.support.checkpoints import SMALL, shapes, write_checkpoint, write_weights


def fix_of(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_weights(read_checkpoint(folder))
    return str(caught.value.fix)


def configure(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(SMALL | changes), encoding="utf-8")


def test_a_resized_vocabulary_is_set_in_the_config(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, SMALL | {"vocab_size": 2050})
    configure(folder, vocab_size=2048)
    assert fix_of(folder) == f"set vocab_size to 2050 in config.json, or {SAME}"
    configure(folder, vocab_size=2050)
    check_weights(read_checkpoint(folder))


@pytest.mark.parametrize(
    "wrong",
    [{"num_hidden_layers": 3}, {"hidden_size": 128}, {"head_dim": 64},
     {"num_hidden_layers": 99}],
    ids=str,
)  # fmt: skip
def test_a_config_of_another_model_is_exchanged(wrong: dict[str, Any], tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    configure(folder, **wrong)
    assert fix_of(folder).endswith(SAME)
    configure(folder)
    check_weights(read_checkpoint(folder))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("visual.blocks.0.attn.qkv.weight", "a model of text alone"),
        ("model.layers.0.self_attn.q_proj.scales", "MLX has quantized it"),
        ("model.layers.0.self_attn.q_proj.qweight", "with its quantization_config"),
        ("model.layers.0.mlp.experts.down_proj_scale_inv", "each expert is stored by itself"),
        ("v_head.summary.weight", "without the head that its training added"),
        ("model.layers.0.self_attn.qkv_proj.weight", "laid out for another library"),
        ("something.else", SAME),
    ],
)
def test_tensors_that_show_what_the_file_is(name: str, fix: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, extra={name: (4, 4), "model.norm.weight": (7,)})
    assert fix in fix_of(folder)


def test_scales_of_awq_are_not_of_mlx(tmp_path: Path) -> None:
    place = "model.layers.0.self_attn.q_proj."
    stored = {place + part: (4, 4) for part in ("qweight", "qzeros", "scales")}
    assert "with its quantization_config" in fix_of(write_checkpoint(tmp_path, extra=stored))


def test_what_stands_before_all_names_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    named = {f"generator.of.it.{name}": shape for name, shape in shapes(SMALL).items()}
    write_weights(folder / "model.safetensors", named)
    assert fix_of(folder) == "save the weights without 'generator.of.it.' before their names"


def test_the_placeholders_of_deepspeed_are_known(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, extra={"model.norm.weight": (0,)})
    assert "zero_to_fp32.py" in fix_of(folder)


def test_a_head_that_is_missing_may_be_the_embedding(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    configure(folder, tie_word_embeddings=False)
    assert "set tie_word_embeddings to true" in fix_of(folder)
    configure(folder, tie_word_embeddings=True)
    check_weights(read_checkpoint(folder))


def test_a_family_that_was_decided_on_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    configure(folder, model_type="qwen2")
    with pytest.raises(CheckpointError, match="model_type counts, as in transformers"):
        check_weights(read_checkpoint(folder))
