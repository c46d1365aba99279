"""Weight files: their headers are read, and inconsistent ones are refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint import headers
from qdeploy.checkpoint.weight_files import INDEX, file_warnings, read_tensors
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json
from tests.support import tiny
from tests.support.checkpoints import (
    SMALL,
    header,
    shapes,
    write_header,
    write_index,
    write_shards,
    write_weights,
)
from tests.support.tiny import DENSE
from tests.support.weights import f32, save

ONE = {"w": (4, 8)}
Break = Callable[[dict[str, Any]], Any]


def refusal(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read_tensors(folder)
    return caught.value


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


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    weight_map = write_shards(tmp_path, 3)
    assert {t.name: t.file for t in read_tensors(tmp_path)} == weight_map


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
    assert refusal(tmp_path).where == str(tmp_path / "model.safetensors")


@pytest.mark.parametrize("length", [0, 2, 2**31, 2**63, 2**64 - 1])
def test_an_absurd_header_length_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}  ")
    assert "safetensors file" in refusal(tmp_path).what


@pytest.mark.parametrize("kept", [0, 7, 8, 20, -1])
def test_a_truncated_file_is_refused_with_a_fix(kept: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_weights(file, ONE)
    file.write_bytes(file.read_bytes()[:kept])
    error = refusal(tmp_path)
    assert error.where == str(file)
    assert "copy it again" in (error.fix or "")


def test_a_file_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    entries, size = header(ONE)
    write_header(tmp_path / "model.safetensors", entries, size + 1)
    assert "safetensors file" in refusal(tmp_path).what


def test_a_file_without_read_permission_is_not_reported_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, **_: str) -> None:
        raise FileNotFoundError(path)  # as the library raises it

    file = tmp_path / "model.safetensors"
    write_weights(file, ONE)
    monkeypatch.setattr(headers, "safe_open", denied)
    error = refusal(tmp_path)
    assert (error.what, error.where) == ("weight file cannot be read", str(file))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.unlink()
    error = refusal(tmp_path)
    assert (error.what, error.where) == ("weight file is missing", str(shard))


class TestShardsWithoutAnIndex:
    def test_are_read_where_their_numbers_show_that_none_is_missing(self, tmp_path: Path) -> None:
        weight_map = write_shards(tmp_path, 3)
        (tmp_path / INDEX).unlink()
        tensors = read_tensors(tmp_path)
        assert {t.name: t.file for t in tensors} == weight_map
        assert f"there is no {INDEX}" in file_warnings(tmp_path, tensors)[0]

    def test_are_refused_with_the_one_that_is_missing(self, tmp_path: Path) -> None:
        write_shards(tmp_path, 3)
        (tmp_path / INDEX).unlink()
        second = tmp_path / "model-00002-of-00003.safetensors"
        content = second.read_bytes()
        second.unlink()
        error = refusal(tmp_path)
        assert error.what == f"2 shards but no {INDEX}, and {second.name} is missing"
        assert error.fix == f"add {second.name}, or add the index"
        second.write_bytes(content)
        assert read_tensors(tmp_path)

    def test_of_other_names_are_not_advised_to_be_removed(self, tmp_path: Path) -> None:
        write_shards(tmp_path, 1)
        (tmp_path / INDEX).unlink()
        odd = tmp_path / "model-1-of-1.safetensors"
        (tmp_path / "model-00001-of-00001.safetensors").rename(odd)
        assert str(refusal(tmp_path).fix).endswith("rename it to model.safetensors")
        odd.rename(tmp_path / "model.safetensors")
        assert read_tensors(tmp_path)

    def test_are_refused_with_the_one_of_another_save(self, tmp_path: Path) -> None:
        write_shards(tmp_path, 3)
        write_shards(tmp_path, 2)
        (tmp_path / INDEX).unlink()
        while "or add the index" in str((error := refusal(tmp_path)).fix):
            (tmp_path / str(error.fix).removeprefix("remove ").partition(",")[0]).unlink()
            if not any(tmp_path.glob("model-*-of-00002.safetensors")):
                break
        assert read_tensors(tmp_path)


def test_what_a_shard_holds_counts_not_what_the_index_says_of_it(tmp_path: Path) -> None:
    """Transformers takes no more than the names of the shards from the index."""
    weight_map = write_shards(tmp_path)
    name = "model.norm.weight"
    other = next(file for file in weight_map.values() if file != weight_map[name])
    listed = weight_map | {name: other, "lm_head.weight": other}
    del listed["model.embed_tokens.weight"]
    write_index(tmp_path, listed)
    assert {t.name: t.file for t in read_tensors(tmp_path)} == weight_map


class TestAllWeightsBesideShards:
    """Random values, as sparse files are all equal."""

    def write(self, folder: Path, *, seed: int) -> None:
        tiny.write(folder, DENSE)
        weights = list(tiny.draw(DENSE, seed).items())
        weight_map: dict[str, str] = {}
        for number in (1, 2):
            part = {name: f32(values) for name, values in weights[number - 1 :: 2]}
            save(folder / f"model-0000{number}-of-00002.safetensors", part)
            weight_map |= dict.fromkeys(part, f"model-0000{number}-of-00002.safetensors")
        write_index(folder, weight_map)

    def warnings(self, folder: Path) -> tuple[str, ...]:
        tensors = read_tensors(folder)
        assert {t.file for t in tensors} == {"model.safetensors"}
        return file_warnings(folder, tensors)

    def test_that_are_the_same_are_no_news(self, tmp_path: Path) -> None:
        self.write(tmp_path, seed=0)
        assert self.warnings(tmp_path) == ()

    @pytest.mark.parametrize("index", [True, False])
    def test_that_differ_are_warned_of(self, index: bool, tmp_path: Path) -> None:
        self.write(tmp_path, seed=1)
        if not index:
            (tmp_path / INDEX).unlink()
        (warning,) = self.warnings(tmp_path)
        assert "model.safetensors is read" in warning

    def test_of_which_some_are_gone(self, tmp_path: Path) -> None:
        self.write(tmp_path, seed=0)
        (tmp_path / "model-00002-of-00002.safetensors").unlink()
        (warning,) = self.warnings(tmp_path)
        assert "model.safetensors is read" in warning

    def test_an_index_of_the_one_file_is_no_other_source(self, tmp_path: Path) -> None:
        tiny.write(tmp_path, DENSE)
        write_index(tmp_path, {t.name: t.file for t in read_tensors(tmp_path)})
        assert self.warnings(tmp_path) == ()


@pytest.mark.parametrize(
    "file",
    [
        "../model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "..",
        "",
        "model.bin",
        7,
        None,
        ["model.safetensors"],
        f"{'m' * 5000}.safetensors",
        "m\0.safetensors",
    ],
    ids=lambda file: repr(file)[:24],
)
def test_an_index_may_not_point_outside_the_folder(file: object, tmp_path: Path) -> None:
    outside = tmp_path / "model.safetensors"
    write_weights(outside, ONE)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_index(folder, {"w": file})
    assert str(folder) in (refusal(folder).where or "")


@pytest.mark.parametrize("weight_map", [None, [], {}, "all"])
def test_an_index_without_a_map_is_refused(weight_map: object, tmp_path: Path) -> None:
    write_index(tmp_path, weight_map)
    assert refusal(tmp_path).what == "no 'weight_map' object"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_pickled_weights_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    error = refusal(tmp_path)
    assert "can run code when loaded" in error.what
    assert error.fix
    assert error.fix.startswith("convert them")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).what == "the folder is empty"


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
