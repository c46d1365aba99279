"""One safetensors file: its header is validated against the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.checkpoint.sources import safetensors
from qdeploy.checkpoint.sources.safetensors import TensorFile
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import CheckpointError
from tests.support.weights import bf16, save_checkpoint


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    made = save_checkpoint(tmp_path, {"w": bf16(np.ones((4, 8)))})
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_weights(made)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    made = save_checkpoint(tmp_path, {"w": bf16(np.ones((4, 8)))})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_weights(made)


def test_a_file_can_be_closed_while_a_traceback_refers_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    save_checkpoint(tmp_path, {"w": bf16(np.ones((4, 8)))})
    file = TensorFile(tmp_path / "model.safetensors")
    monkeypatch.setattr(safetensors, "widen", fail)
    try:
        file.read("w", 0, 4, np.empty((4, 8), np.float32))
    except MemoryError:
        file.close()


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        "[]", "{", '{"w": 1}', '{"w": {}}', "\0", "9" * 5000,
        {**ENTRY, "data_offsets": [0, 15]}, {**ENTRY, "data_offsets": [-16, 0]},
        {**ENTRY, "data_offsets": [8, 24]}, {**ENTRY, "data_offsets": [0]},
        {**ENTRY, "data_offsets": [0.0, 16.0]}, {**ENTRY, "shape": [4, 2]},
        {**ENTRY, "shape": [-2, -2]}, {**ENTRY, "shape": "22"}, {**ENTRY, "shape": [2**70, 0]},
        {**ENTRY, "dtype": "F33"}, {**ENTRY, "dtype": None}, {**ENTRY, "dtype": []},
    ],
    ids=str,
)  # fmt: skip
def test_an_inconsistent_header_is_refused(tmp_path: Path, header: Any) -> None:
    text = header if isinstance(header, str) else json.dumps({"w": header})
    file = tmp_path / "lies.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(16))
    with pytest.raises(CheckpointError, match=r"lies\.safetensors: not a .*safetensors file"):
        TensorFile(file)


@given(st.binary(max_size=100))
def test_any_bytes_for_a_file(content: bytes) -> None:
    """Opening succeeds or raises CheckpointError."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "any.safetensors"
        file.write_bytes(content)
        try:
            TensorFile(file).close()
        except CheckpointError:
            return
