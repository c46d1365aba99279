"""Weight files: their headers are read, and inconsistent ones are refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint import headers
from qdeploy.checkpoint.weight_files import read_tensors
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json
from tests.support.checkpoints import (
    SMALL,
    header,
    shapes,
    weights_refusal,
    write_header,
    write_weights,
)

ONE = {"w": (4, 8)}
Break = Callable[[dict[str, Any]], Any]


def test_every_tensor_is_found_with_shape_dtype_and_size(tmp_path: Path) -> None:
    write_weights(tmp_path / "model.safetensors", shapes(SMALL))
    found = read_tensors(tmp_path)
    assert {t.name: t.shape for t in found} == shapes(SMALL)
    assert {t.dtype for t in found} == {"BF16"}
    assert sum(t.nbytes for t in found) == header(shapes(SMALL))[1]


@pytest.mark.skipif(sys.platform == "win32", reason="truncating makes no hole there")
def test_a_terabyte_is_described_by_its_header_alone(tmp_path: Path) -> None:
    """Reading the weights would exhaust time or memory."""
    rows = 2**40 // 2 // 4096
    write_weights(tmp_path / "model.safetensors", {"w": (rows, 4096)})
    assert [t.nbytes for t in read_tensors(tmp_path)] == [2**40]


@pytest.mark.parametrize(
    ("dtype", "bits"), [("F32", 32), ("F16", 16), ("I8", 8), ("F8_E4M3", 8), ("F4", 4)]
)
def test_bytes_follow_from_the_dtype(tmp_path: Path, dtype: str, bits: int) -> None:
    size = 4 * 8 * bits // 8
    entries = {"w": {"dtype": dtype, "shape": [4, 8], "data_offsets": [0, size]}}
    write_header(tmp_path / "model.safetensors", entries, size)
    assert [t.nbytes for t in read_tensors(tmp_path)] == [size]


def _set(**changes: Any) -> Break:
    return lambda entries: {"w": entries["w"] | changes}


@pytest.mark.parametrize(
    "lie",
    [
        _set(data_offsets=[0, 2**40]),
        _set(data_offsets=[-64, 0]),
        _set(data_offsets=[64, 0]),
        _set(data_offsets=[0]),
        _set(shape=[4, 9]),
        _set(shape=[-4, -8]),
        _set(shape=[2**62, 2**62]),
        _set(shape="48"),
        _set(dtype="BF17"),
        lambda entries: entries | {"again": entries["w"]},
        lambda entries: {"w": None},
        lambda entries: [entries],
        lambda entries: {"__metadata__": {"a": 1}} | entries,
    ],
    ids="beyond negative backwards half-a-range shape negative-shape overflow text dtype "
    "overlapping null list metadata".split(),
)
def test_an_inconsistent_header_is_refused_with_its_file(lie: Break, tmp_path: Path) -> None:
    entries, size = header(ONE)
    write_header(tmp_path / "model.safetensors", lie(entries), size)
    assert weights_refusal(tmp_path).where == str(tmp_path / "model.safetensors")


@pytest.mark.parametrize("length", [0, 2, 2**31, 2**63, 2**64 - 1])
def test_an_absurd_header_length_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}  ")
    assert "safetensors file" in weights_refusal(tmp_path).what


@pytest.mark.parametrize("kept", [0, 7, 8, 20, -1])
def test_a_truncated_file_is_refused_with_a_fix(kept: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_weights(file, ONE)
    file.write_bytes(file.read_bytes()[:kept])
    error = weights_refusal(tmp_path)
    assert error.where == str(file)
    assert "copy it again" in (error.fix or "")


def test_a_file_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    entries, size = header(ONE)
    write_header(tmp_path / "model.safetensors", entries, size + 1)
    assert "safetensors file" in weights_refusal(tmp_path).what


def test_a_file_without_read_permission_is_not_reported_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, **_: str) -> None:
        raise FileNotFoundError(path)  # as the library raises it

    file = tmp_path / "model.safetensors"
    write_weights(file, ONE)
    monkeypatch.setattr(headers, "safe_open", denied)
    error = weights_refusal(tmp_path)
    assert (error.what, error.where) == ("weight file cannot be read", str(file))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_pickled_weights_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    error = weights_refusal(tmp_path)
    assert "can run code when loaded" in error.what
    assert error.fix
    assert error.fix.startswith("convert them")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert weights_refusal(tmp_path).what == "the folder is empty"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        (b'{"a":' * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
    ids="array null unfinished empty bytes nested number".split(),
)
def test_a_file_that_is_not_a_json_object_is_refused(
    content: bytes, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_json(file)
    assert caught.value.where == str(file)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with file.open("wb") as out:
        out.truncate(2**30)
    with pytest.raises(CheckpointError, match="larger than"):
        read_json(file)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(tmp_path)


def test_json_is_read_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"name": "汉字"}), encoding="utf-8")
    assert read_json(file) == {"name": "汉字"}
