"""Where settings of quantization stand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import CheckpointError
from tests.support import quantized as q
from tests.support.checkpoints import SMALL
from tests.support.weights import RawTensor, bf16, save_checkpoint

LAYER = q.random_layer(16, 64)


def write(folder: Path, parts: q.Parts, settings: dict[str, Any] | None) -> Checkpoint:
    stored = {f"x.{name}": tensor for name, tensor in parts.items()}
    return save_checkpoint(folder, stored, SMALL | {"quantization_config": settings})


def beside(folder: Path, name: str, settings: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(settings), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "settings", "parts"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 32, "sym": False}, q.gptq(LAYER)),
        (
            "quant_config.json",
            {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"},
            q.awq(LAYER),
        ),
    ],
)
def test_a_file_of_the_methods_own(
    tmp_path: Path, file: str, settings: dict[str, Any], parts: q.Parts
) -> None:
    beside(tmp_path, file, settings)
    made = write(tmp_path, parts, None)
    with open_weights(made) as source:
        np.testing.assert_array_equal(source.rows("x.weight"), LAYER.values)
    assert not made.warnings


def test_of_two_that_disagree_config_json_counts(tmp_path: Path) -> None:
    beside(tmp_path, "quantize_config.json", {"bits": 4, "group_size": 128, "sym": True})
    made = write(tmp_path, q.gptq(LAYER), q.gptq_settings())
    with open_weights(made) as source:
        np.testing.assert_array_equal(source.rows("x.weight"), LAYER.values)
    said = made.stored.warnings
    assert len(said) == 2
    assert "group_size = 32 and quantize_config.json says 128" in said[0]


def test_two_that_agree(tmp_path: Path) -> None:
    beside(tmp_path, "quant_config.json", {"w_bit": 4, "q_group_size": 32, "version": "GEMM"})
    assert not write(tmp_path, q.awq(LAYER), q.awq_settings()).stored.warnings


@pytest.mark.parametrize(
    ("packing", "encode"),
    [
        ("auto_round:auto_gptq", q.gptq),
        ("auto_round:gptqmodel", q.gptq_v2),
        ("auto_round", q.gptq_v2),
        ("auto_round:auto_awq", q.awq),
    ],
)
def test_autoround_packs_like_the_others(tmp_path: Path, packing: str, encode: q.Encode) -> None:
    settings = {
        "quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": False,
        "packing_format": packing, "extra_config": {"lm_head": {"bits": 16}},
    }  # fmt: skip
    with open_weights(write(tmp_path, encode(LAYER), settings)) as source:
        np.testing.assert_array_equal(source.rows("x.weight"), LAYER.values)


def test_autorounds_older_name(tmp_path: Path) -> None:
    settings = q.gptq_settings() | {"quant_method": "intel/auto-round"}
    with open_weights(write(tmp_path, q.gptq(LAYER), settings)) as source:
        np.testing.assert_array_equal(source.rows("x.weight"), LAYER.values)


OTHER = {"weight_qdata": RawTensor("U8", np.zeros((4, 4), np.uint8))}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quant_method": "aqlm"}, "by 'aqlm': its weights are sums of entries of learned"),
        ({"quant_method": "hqq"}, "by 'hqq': it stores Python objects"),
        ({"quant_method": "torchao"}, "by 'torchao': it stores tensor classes"),
        ({"quant_method": "made-up"}, "by 'made-up': the method is not known"),
        ({"bits": 4, "group_size": 64, "mode": "affine"}, "by 'mlx': its weights are in"),
        ({"bits": 4}, "by 'unnamed': the method is not known"),
        ({"quant_method": "gptq", "bits": 3}, "codes of 3 bits; 4 and 8 can be read"),
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "kernels of 'marlin'"),
        ({"quant_method": "gptq", "is_marlin_format": True}, "kernels of 'marlin'"),
        ({"quant_method": "gptq", "bits": "4"}, "'bits' is '4', not a whole number"),
        ({"quant_method": "gptq", "group_size": 0}, "'group_size' is 0"),
        ({"quant_method": "gptq", "dynamic": {"+:(": {}}}, "is no pattern"),
        ({"quant_method": "gptq", "dynamic": {"+:x": {"bits": 2}}}, "codes of 2 bits"),
        ({"quant_method": "auto-round", "packing_format": "auto_round:mx"}, "'auto_round:mx'"),
        ({"quant_method": "awq", "version": "gemv"}, "layout 'gemv'"),
        ({"quant_method": "awq", "zero_point": "yes"}, "'zero_point' is 'yes'"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, r"'weight_block_size' is \[128\]"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, r"\[0, 128\], not two positive"),
        ({"quant_method": "fp8", "weight_block_size": ["a", "b"]}, "'weight_block_size' is"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "ModelOpt's W4A8_AWQ"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": 3}}, "is 3, not an object"),
        (
            {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24"}},
            "sparse and compressed",
        ),
        (
            q.compressed_settings() | {"transform_config": {"config_groups": {"R1": {}}}},
            "rotations that are computed as the model runs",
        ),
        (
            q.compressed_settings("mxfp6-pack-quantized"),
            "the format 'mxfp6-pack-quantized' of compressed-tensors",
        ),
        (q.compressed_settings() | {"ignore": ["re:("]}, "is no pattern of modules"),
    ],
    ids=str,
)
def test_what_cannot_be_read(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    made = write(tmp_path, OTHER, settings)
    with pytest.raises(CheckpointError, match=words) as raised:
        _ = made.weights
    assert raised.value.fix == "give the float checkpoint that this one was made from"


@pytest.mark.parametrize("base", ["base_model: Qwen/Qwen3-8B", 'base_model:\n- "Qwen/Qwen3-8B"'])
def test_the_fix_names_the_original_where_the_card_does(tmp_path: Path, base: str) -> None:
    made = write(tmp_path, OTHER, {"quant_method": "aqlm"})
    (tmp_path / "README.md").write_text(f"---\nlicense: mit\n{base}\n---\n# A model\n")
    with pytest.raises(CheckpointError) as raised:
        _ = made.weights
    assert str(raised.value.fix).endswith("made from, Qwen/Qwen3-8B")


def test_left_over_settings_of_any_method_do_no_harm(tmp_path: Path) -> None:
    made = write(tmp_path, {"weight": bf16(np.ones((4, 4)))}, {"quant_method": "hqq"})
    with open_weights(read_checkpoint(made.folder)) as source:
        np.testing.assert_array_equal(source.rows("x.weight"), np.ones((4, 4)))
