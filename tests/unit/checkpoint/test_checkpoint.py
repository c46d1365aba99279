"""Checkpoints described from config and headers; invalid ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy import models
from qdeploy.architectures.table import known_classes
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import CheckpointError
from qdeploy.storage.hashing import Identity
from tests.support.checkpoints import MOE, SMALL, shape_of_0_6b, write_checkpoint, write_shards
from tests.support.weights import FP8_CONFIG, f32, fp8, save_checkpoint


class Without:
    """Marks a key to leave out."""

    def __repr__(self) -> str:
        return "left out"


WITHOUT = Without()


def read(folder: Path, **changes: Any) -> Checkpoint:
    """Read a small checkpoint with a changed config; WITHOUT removes a key."""
    config = {k: v for k, v in (SMALL | changes).items() if v is not WITHOUT}
    write_checkpoint(folder)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return read_checkpoint(folder)


def refusal(folder: Path, **changes: Any) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read(folder, **changes)
    return caught.value


def test_the_published_0_6b_has_its_596_million_parameters(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path, shape_of_0_6b()))
    assert found.parameters == 596_049_920
    assert found.nbytes == 2 * 596_049_920


def test_a_tied_head_that_is_also_stored_counts_once(tmp_path: Path) -> None:
    """The hub's Qwen3-0.6B has one: 752 million elements, 596 million parameters."""
    config = shape_of_0_6b()
    head = {"lm_head.weight": (config["vocab_size"], config["hidden_size"])}
    found = read_checkpoint(write_checkpoint(tmp_path, config, extra=head))
    assert found.parameters == 596_049_920


def test_an_untied_head_counts(tmp_path: Path) -> None:
    tied = read_checkpoint(write_checkpoint(tmp_path / "tied"))
    config = SMALL | {"tie_word_embeddings": False}
    untied = read_checkpoint(write_checkpoint(tmp_path / "untied", config))
    assert untied.parameters - tied.parameters == SMALL["vocab_size"] * SMALL["hidden_size"]


def test_scales_of_quantized_weights_are_not_counted_as_parameters(tmp_path: Path) -> None:
    weight = fp8(np.zeros((4, 4)))
    tensors = {"up_proj.weight": weight, "up_proj.weight_scale_inv": f32([[1.0]])}
    assert save_checkpoint(tmp_path, tensors, SMALL | FP8_CONFIG).parameters == 16


def test_experts_are_parameters_and_make_a_moe(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path, SMALL | MOE))
    assert found.config.is_moe
    assert found.config.name == "Qwen3MoeForCausalLM"
    experts = [t for t in found.tensors if ".experts." in t.name]
    assert len(experts) == 2 * 4 * 3  # layers, experts, projections


def test_head_dim_is_read_from_the_config(tmp_path: Path) -> None:
    config = read(tmp_path).config
    assert config.head_dim == 128
    assert config.head_dim != config.hidden_size // config.num_attention_heads


def test_a_missing_head_dim_is_that_of_transformers(tmp_path: Path) -> None:
    """128 for Qwen3; for the others hidden_size / num_attention_heads."""
    assert read(tmp_path, head_dim=WITHOUT).config.head_dim == 128
    assert read(tmp_path, **MOE, head_dim=WITHOUT).config.head_dim == 256 // 4


def test_key_value_heads_default_to_all_heads(tmp_path: Path) -> None:
    assert read(tmp_path, num_key_value_heads=WITHOUT).config.num_key_value_heads == 4


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def test_rope_scaling_is_read_as_the_hub_writes_it(tmp_path: Path) -> None:
    config = read(tmp_path, rope_scaling=YARN).config
    assert (config.rope_theta, config.rope_scaling) == (1e6, YARN)


def test_rope_scaling_is_read_as_transformers_5_writes_it(tmp_path: Path) -> None:
    both = YARN | {"rope_theta": 5e6}
    config = read(tmp_path, rope_theta=WITHOUT, rope_parameters=both).config
    assert config.rope_theta == 5e6
    assert config.rope_scaling == both


def test_default_rope_parameters_mean_no_scaling(tmp_path: Path) -> None:
    plain = {"rope_type": "default", "rope_theta": 5e6}
    config = read(tmp_path, rope_theta=WITHOUT, rope_parameters=plain).config
    assert (config.rope_theta, config.rope_scaling) == (5e6, None)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such directory") as caught:
        read_checkpoint(tmp_path / "nowhere")
    assert caught.value.where == str(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": WITHOUT}, "'hidden_size': field required"),
        ({"architectures": WITHOUT, "model_type": "x"}, "'architectures': field required"),
        ({"architectures": [], "model_type": "x"}, "'architectures'"),
        ({"architectures": "Qwen3ForCausalLM"}, "'architectures'"),
        ({"num_attention_heads": 0}, "'num_attention_heads'"),
        ({"num_attention_heads": "four"}, "'num_attention_heads'"),
        ({"head_dim": -128}, "'head_dim'"),
        ({"vocab_size": 2**40}, "'vocab_size'"),
        ({"hidden_size": 2.5}, "'hidden_size'"),
        ({"rope_scaling": "yarn"}, "'rope_scaling'"),
        ({"rope_parameters": "yarn", "rope_scaling": 1}, "'rope_scaling'"),
    ],
    ids=str,
)
def test_an_invalid_config_is_refused_with_its_key(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path, **changes)
    of = changes.get("model_type", "qwen3") if "architectures" in changes else "Qwen3ForCausalLM"
    assert f"not the config of {of}: {says}" in error.what
    assert error.where == str(tmp_path / "config.json")


def test_the_config_of_another_family_is_refused_by_its_architecture(tmp_path: Path) -> None:
    """GPT-2 has another key for every size, so the first missing key alone would not explain it."""
    write_checkpoint(tmp_path)
    foreign = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768}
    (tmp_path / "config.json").write_text(json.dumps(foreign), encoding="utf-8")
    with pytest.raises(CheckpointError, match="GPT2LMHeadModel"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "3", '"config"', ""])
def test_a_config_that_is_not_an_object_is_refused(content: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"not valid JSON|not a JSON object"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_sidecar_is_named(name: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match="is missing") as caught:
        read_checkpoint(tmp_path)
    assert name in str(caught.value)


def _change_a_byte(file: Path) -> None:
    content = file.read_bytes()
    json_too = content.replace(b" ", b"\t", 1)
    file.write_bytes(json_too if file.suffix == ".json" else content[:-1] + b"\x01")


def digest(folder: Path) -> str:
    return Identity(read_checkpoint(folder).files()).hexdigest()


class TestFiles:
    def test_are_the_same_in_another_folder(self, tmp_path: Path) -> None:
        one, two = (write_checkpoint(tmp_path / name) for name in ("one", "two"))
        assert digest(one) == digest(two)

    @pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors"])
    def test_make_up_the_model(self, name: str, tmp_path: Path) -> None:
        folder = write_checkpoint(tmp_path)
        before = digest(folder)
        _change_a_byte(folder / name)
        assert digest(folder) != before

    def test_cover_every_shard(self, tmp_path: Path) -> None:
        write_shards(tmp_path, 2)
        before = digest(tmp_path)
        names = read_checkpoint(tmp_path).weight_files()
        assert names == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        _change_a_byte(tmp_path / names[1])
        assert digest(tmp_path) != before


@pytest.mark.parametrize("name", models.EMBEDDED)
def test_embedded_models_are_whole_qwen3_checkpoints(name: str) -> None:
    found = read_checkpoint(models.path(name), name=name)
    assert found.config.name in known_classes()
    assert found.config.is_moe == name.endswith("moe")
    assert found.nbytes <= 12_000_000


def test_weights_that_the_config_names_are_those_that_are_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, SMALL | {"transformers_weights": "model.safetensors"})
    assert read_checkpoint(folder).tensors
    write_checkpoint(folder, SMALL | {"transformers_weights": "other.safetensors"})
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    write_checkpoint(tmp_path / "older")
    shutil.copy(tmp_path / "older" / "model.safetensors", folder)
    with pytest.raises(CheckpointError, match=r"'other\.safetensors'") as caught:
        read_checkpoint(folder)
    (folder / "other.safetensors").rename(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SMALL), encoding="utf-8")
    assert (caught.value.fix or "").startswith("rename the file that counts to model.safetensors")
    assert read_checkpoint(folder).tensors
