"""Names and dtypes of what a checkpoint stores."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qdeploy.errors import CheckpointError
from qdeploy.verification.stored import read_stored

NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "stored",
    [
        f"module.{NAME}",
        f"_orig_mod.{NAME}",
        f"base_model.model.{NAME}",
        f"pretrained_model.{NAME}",
        f"_fsdp_wrapped_module._orig_mod.module.{NAME}",
        "model.layers.0._checkpoint_wrapped_module.mlp.up_proj.weight",
        "model.layers.0.mlp.up_proj.base_layer.weight",
        NAME,
    ],
)
def test_what_wrappers_add_to_names_is_to_be_removed(stored: str, tmp_path: Path) -> None:
    save_file({stored: np.zeros((2, 3), np.float32)}, tmp_path / "model.safetensors")
    name = stored
    for pattern, replacement in read_stored(tmp_path).renaming.items():
        name = re.sub(pattern, replacement, name)
    assert name == NAME


def test_floats_alone_are_not_quantized(tmp_path: Path) -> None:
    save_file({NAME: np.zeros((2, 3), np.float16)}, tmp_path / "model.safetensors")
    assert read_stored(tmp_path).is_float
    save_file({"up_proj.qweight": np.zeros((2, 3), np.int32)}, tmp_path / "more.safetensors")
    found = read_stored(tmp_path)
    assert not found.is_float
    assert found.rows("qweight$") == 2
    assert found.rows("embed_tokens") is None


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_stored(tmp_path)
