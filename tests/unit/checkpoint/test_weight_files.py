"""Which files hold a checkpoint's weights: one, or shards with or without an index."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.checkpoint.weight_files import INDEX, file_warnings, read_tensors
from tests.support import tiny
from tests.support.checkpoints import (
    weights_refusal,
    write_index,
    write_shards,
    write_weights,
)
from tests.support.tiny import DENSE
from tests.support.weights import f32, save

ONE = {"w": (4, 8)}


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    weight_map = write_shards(tmp_path, 3)
    assert {t.name: t.file for t in read_tensors(tmp_path)} == weight_map


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.unlink()
    error = weights_refusal(tmp_path)
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
        error = weights_refusal(tmp_path)
        assert error.what == f"2 shards but no {INDEX}, and {second.name} is missing"
        assert error.fix == f"add {second.name}, or add the index"
        second.write_bytes(content)
        assert read_tensors(tmp_path)

    def test_of_other_names_are_not_advised_to_be_removed(self, tmp_path: Path) -> None:
        write_shards(tmp_path, 1)
        (tmp_path / INDEX).unlink()
        odd = tmp_path / "model-1-of-1.safetensors"
        (tmp_path / "model-00001-of-00001.safetensors").rename(odd)
        assert str(weights_refusal(tmp_path).fix).endswith("rename it to model.safetensors")
        odd.rename(tmp_path / "model.safetensors")
        assert read_tensors(tmp_path)

    def test_are_refused_with_the_one_of_another_save(self, tmp_path: Path) -> None:
        write_shards(tmp_path, 3)
        write_shards(tmp_path, 2)
        (tmp_path / INDEX).unlink()
        while "or add the index" in str((error := weights_refusal(tmp_path)).fix):
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
    assert str(folder) in (weights_refusal(folder).where or "")


@pytest.mark.parametrize("weight_map", [None, [], {}, "all"])
def test_an_index_without_a_map_is_refused(weight_map: object, tmp_path: Path) -> None:
    write_index(tmp_path, weight_map)
    assert weights_refusal(tmp_path).what == "no 'weight_map' object"
