"""Rows of weights: every data type, sharded, in blocks; pages are released after reading."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.checkpoint.weights import open_weights
from qdeploy.checkpoint.weights.reader import PIECE_ELEMENTS
from qdeploy.errors import CheckpointError
from tests.support.checkpoints import SMALL
from tests.support.weights import (
    BLOCK,
    FP8_CONFIG,
    RawTensor,
    bf16,
    f16,
    f32,
    fp8,
    save,
    save_checkpoint,
    save_shards,
)

Floats = NDArray[np.float32]
Encode = Callable[[Floats], RawTensor]


def draw(*shape: int, seed: int = 0) -> Floats:
    """Numbers that every data type represents exactly: k / 16 for |k| < 128."""
    integers = np.random.default_rng(seed).integers(-127, 128, shape)
    return np.asarray(integers / 16, np.float32)


@pytest.mark.parametrize("encode", [bf16, f16, f32])
@pytest.mark.parametrize("shape", [(6, 32), (1, 7), (5,), (0, 4), (3, 0), (2, 3, 4)])
def test_weights_come_back_as_float32(
    tmp_path: Path, encode: Encode, shape: tuple[int, ...]
) -> None:
    weight = draw(*shape)
    # an odd number of bytes first, so that no tensor is aligned
    before = RawTensor("U8", np.zeros(3, np.uint8))
    made = save_checkpoint(tmp_path, {"w": encode(weight)})
    save(tmp_path / "model.safetensors", {"before": before, "w": encode(weight)})
    with open_weights(made) as source:
        found = source.rows("w")
    assert found.dtype == np.float32
    assert np.array_equal(found, weight)


def test_rows_are_a_copy(tmp_path: Path) -> None:
    with open_weights(save_checkpoint(tmp_path, {"w": f32(draw(4, 8))})) as source:
        source.rows("w")[:] = 0
        assert np.array_equal(source.rows("w"), draw(4, 8))


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_rows_are_those_of_the_whole(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows, columns = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    codes = np.random.default_rng(rows).integers(0, 256, (rows, columns))
    codes[(codes & 0x7F) == 0x7F] = 0
    tensors = {"bf": bf16(draw(rows, columns)), "f8.weight": fp8(codes)}
    blocks = (-(-rows // BLOCK), -(-columns // BLOCK))
    tensors["f8.weight_scale_inv"] = bf16(np.abs(draw(*blocks)) + 1)
    made = save_checkpoint(tmp_path_factory.mktemp("rows"), tensors, SMALL | FP8_CONFIG)
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    with open_weights(made) as source:
        for name in source.names:
            whole = source.rows(name)
            assert np.array_equal(source.rows(name, start, stop), whole[start:stop])
            into = np.full((stop - start, 2, columns), np.nan, np.float32)
            source.rows(name, start, stop, out=into[:, 1])
            assert np.array_equal(into[:, 1], whole[start:stop])
            assert np.isnan(into[:, 0]).all()
            size = data.draw(st.integers(1, 8 * columns * rows))
            parts = list(source.blocks(name, max_bytes=size))
            assert [first for first, _ in parts] == [
                a for a, _ in source.spans(name, max_bytes=size)
            ]
            assert np.array_equal(np.concatenate([part for _, part in parts]), whole)
            assert all(part.nbytes <= max(size, 4 * columns) for _, part in parts)


@pytest.mark.parametrize("scale_type", [bf16, f32])
@pytest.mark.parametrize("shape", [(256, 384), (100, 130), (129, 127), (1, 1)])
def test_fp8_is_byte_times_the_scale_of_its_block(
    tmp_path: Path, shape: tuple[int, int], scale_type: Encode
) -> None:
    """Against one element at a time, as DeepSeek-V3's `weight_dequant` defines it."""
    random = np.random.default_rng(1)
    codes = random.integers(0, 0x7F, shape) | random.integers(0, 2, shape) << 7
    scales: Floats = np.abs(draw(-(-shape[0] // BLOCK), -(-shape[1] // BLOCK))) + np.float32(0.5)
    tensors = {"w.weight": fp8(codes), "w.weight_scale_inv": scale_type(scales)}
    table = {}
    for byte in range(256):
        sign, exponent, mantissa = byte >> 7, byte >> 3 & 15, byte & 7
        value = (8 + mantissa) * 2.0 ** (exponent - 10) if exponent else mantissa * 2.0**-9
        table[byte] = -value if sign else value
    with open_weights(save_checkpoint(tmp_path, tensors, SMALL | FP8_CONFIG)) as source:
        assert source.names == ("w.weight",)
        found = source.rows("w.weight")
    for row in range(0, shape[0], 7):
        for column in range(shape[1]):
            scale = scales[row // BLOCK, column // BLOCK]
            wanted = np.float32(table[int(codes[row, column])]) * scale
            assert found[row, column] == wanted


def test_shards_are_found_by_tensor(tmp_path: Path) -> None:
    shards = {
        "model-00001-of-00002.safetensors": {"a": bf16(draw(3, 4)), "b": f32(draw(2, seed=1))},
        "model-00002-of-00002.safetensors": {"c": f16(draw(5, 2, seed=2))},
    }
    with open_weights(save_shards(tmp_path, shards)) as source:
        assert source.names == ("a", "b", "c")
        assert [source.shape(n) for n in source.names] == [(3, 4), (2,), (5, 2)]
        assert np.array_equal(source.rows("c"), draw(5, 2, seed=2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encode", [bf16, f16, f32])
@pytest.mark.parametrize("rows", [8, 2 * PIECE_ELEMENTS // 1024])
def test_a_value_that_is_not_finite_is_named(
    tmp_path: Path, rows: int, encode: Encode, value: float
) -> None:
    weight = draw(rows, 1024)
    weight[rows - 3, 5] = value
    with open_weights(save_checkpoint(tmp_path, {"layer.w": encode(weight)})) as source:
        with pytest.raises(CheckpointError, match=rf"^layer\.w: row {rows - 3} "):
            source.rows("layer.w", 2)
        source.rows("layer.w", 0, rows - 3)


def test_a_vector_with_a_nan(tmp_path: Path) -> None:
    norm = draw(300)
    norm[200] = np.nan
    with (
        open_weights(save_checkpoint(tmp_path, {"norm": bf16(norm)})) as source,
        pytest.raises(CheckpointError, match=r"^norm: row 200 "),
    ):
        source.rows("norm")


def test_fp8s_nan_is_found(tmp_path: Path) -> None:
    codes = np.zeros((4, 4), np.uint8)
    codes[3, 1] = 0xFF
    tensors = {"w.weight": fp8(codes), "w.weight_scale_inv": f32([[1.0]])}
    with (
        open_weights(save_checkpoint(tmp_path, tensors, SMALL | FP8_CONFIG)) as source,
        pytest.raises(CheckpointError, match=r"^w.weight: row 3 "),
    ):
        source.rows("w.weight")


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 5)])
def test_rows_out_of_range_raise_an_error(tmp_path: Path, start: int, stop: int) -> None:
    with (
        open_weights(save_checkpoint(tmp_path, {"w": f32(draw(4, 8))})) as source,
        pytest.raises(ValueError, match="which has 4"),
    ):
        source.rows("w", start, stop)


def test_reading_is_thread_safe(tmp_path: Path) -> None:
    weight = draw(400, 256)
    with (
        open_weights(save_checkpoint(tmp_path, {"w": bf16(weight)})) as source,
        ThreadPoolExecutor(4) as pool,
    ):
        spans = source.spans("w", max_bytes=8192) * 4
        for (start, stop), found in zip(
            spans, pool.map(lambda s: source.rows("w", *s), spans), strict=True
        ):
            assert np.array_equal(found, weight[start:stop])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_that_were_read_are_released(tmp_path: Path) -> None:
    """Reading 64 MiB increases neither mapped nor anonymous memory."""

    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return 1024 * sum(int(fields[key].split()[0]) for key in ("RssAnon", "RssFile"))

    made = save_checkpoint(tmp_path, {"w": RawTensor("BF16", np.zeros((16384, 2048), np.uint16))})
    with open_weights(made) as source:
        before = resident()
        for _, block in source.blocks("w", max_bytes=2**20):
            assert not block.any()
        assert resident() - before < 16 * 2**20


@pytest.mark.parametrize(
    "now",
    [{"w": bf16(draw(8, 4))}, {"w": f16(draw(4, 8))}, {"v": bf16(draw(4, 8))}],
    ids=["shape", "type", "name"],
)
def test_a_file_that_changed_since_is_refused(tmp_path: Path, now: dict[str, RawTensor]) -> None:
    made = save_checkpoint(tmp_path, {"w": bf16(draw(4, 8))})
    save(tmp_path / "model.safetensors", now)
    with pytest.raises(CheckpointError, match=r"'w' .*has changed"):
        open_weights(made)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"w": RawTensor("I32", np.zeros((2, 2), np.int32))}, "is I32; readable are"),
        ({"w.weight": fp8(np.zeros((4, 4)))}, "is F8_E4M3, but without scales"),
        (
            {"w.weight": fp8(np.zeros(4)), "w.weight_scale_inv": f32([1.0])},
            "is F8_E4M3, but without scales",
        ),
        (
            {"w.weight": fp8(np.zeros((4, 4))), "w.weight_scale_inv": f32([[1.0, 1.0]])},
            r"has scales \[1, 2\]",
        ),
    ],
)
def test_unreadable_tensors_are_refused_on_opening(
    tmp_path: Path, tensors: dict[str, RawTensor], words: str
) -> None:
    made = save_checkpoint(tmp_path, tensors, SMALL | FP8_CONFIG)
    with pytest.raises(CheckpointError, match=f"tensor 'w(.weight)?' {words}"):
        open_weights(made)


def test_fp8_that_the_config_does_not_declare_is_refused(tmp_path: Path) -> None:
    made = save_checkpoint(tmp_path, {"w.weight": fp8([[0]]), "w.weight_scale_inv": f32([[1.0]])})
    with pytest.raises(CheckpointError, match="without scales"):
        open_weights(made)
