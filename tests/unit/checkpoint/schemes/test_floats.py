"""Weights stored as floats of eight and four bits, and bitsandbytes' tables of values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.sources.dtypes import widen
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import CheckpointError
from tests.support import quantized as q
from tests.support.checkpoints import SMALL
from tests.support.weights import RawTensor, bf16, f32, fp8, save_checkpoint

ROWS, COLUMNS = 10, 64
RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 0x7E, (ROWS, COLUMNS)).astype(np.uint8)
SCALES = RANDOM.uniform(0.5, 2, (ROWS, COLUMNS)).astype(np.float32)


def of_bytes(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = np.empty(codes.shape, np.float32)
    widen(codes, "F8_E4M3", values)
    return values


def write(folder: Path, tensors: dict[str, RawTensor], settings: dict[str, Any]) -> Checkpoint:
    stored = {f"x.{name}": tensor for name, tensor in tensors.items()}
    return save_checkpoint(folder, stored, SMALL | {"quantization_config": settings})


def rows(checkpoint: Checkpoint) -> NDArray[np.float32]:
    with open_weights(checkpoint) as source:
        whole = source.rows("x.weight")
        np.testing.assert_array_equal(source.rows("x.weight", 3, 8), whole[3:8])
        return whole


FLOAT8 = q.compressed_settings("float-quantized", num_bits=8, type="float", symmetric=True,
                               strategy="channel", group_size=None)  # fmt: skip
BLOCKS = q.compressed_settings(
    "float-quantized", num_bits=8, type="float", symmetric=True, strategy="block",
    block_structure=[4, 32], group_size=None,
)  # fmt: skip
METHODS: dict[str, tuple[dict[str, Any], str, tuple[int, ...], tuple[int, int]]] = {
    "Qwen's blocks": (
        {"quant_method": "fp8", "weight_block_size": [4, 32]}, "weight_scale_inv", (3, 2), (4, 32),
    ),
    "fp8, a tensor": ({"quant_method": "fp8"}, "weight_scale", (), (ROWS, COLUMNS)),
    "fp8 of one, a tensor": ({"quant_method": "fp8"}, "weight_scale", (1,), (ROWS, COLUMNS)),
    "fbgemm, a row": ({"quant_method": "fbgemm_fp8"}, "weight_scale", (ROWS, 1), (1, COLUMNS)),
    "compressed, a row": (FLOAT8, "weight_scale", (ROWS, 1), (1, COLUMNS)),
    "compressed, flat": (FLOAT8, "weight_scale", (ROWS,), (1, COLUMNS)),
    "compressed, a tensor": (FLOAT8, "weight_scale", (1,), (ROWS, COLUMNS)),
    "compressed, blocks": (BLOCKS, "weight_scale", (3, 2), (4, 32)),
    "ModelOpt": (
        {"quant_method": "modelopt", "quant_algo": "FP8"}, "weight_scale", (), (ROWS, COLUMNS),
    ),
    "Quark": ({"quant_method": "quark"}, "weight_scale", (), (ROWS, COLUMNS)),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_fp8_is_byte_times_scale(tmp_path: Path, method: str) -> None:
    settings, name, shape, (high, wide) = METHODS[method]
    scales = SCALES.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    unused = {"input_scale": f32([1.0]), "k_scale": f32([1.0])}
    made = write(tmp_path, {"weight": fp8(BYTES), name: f32(scales), **unused}, settings)
    grid = scales.reshape(-(-ROWS // high), -(-COLUMNS // wide))
    factors = np.repeat(np.repeat(grid, high, 0), wide, 1)[:ROWS, :COLUMNS]
    np.testing.assert_array_equal(rows(made), of_bytes(BYTES) * factors)
    assert "activations, which stay float here" in made.dropped["x.input_scale"]
    assert "cache" in made.dropped["x.k_scale"]
    _check_bytes(made, factors, in_blocks=(high, wide) == (4, 32))


def _check_bytes(made: Checkpoint, factors: NDArray[np.float32], *, in_blocks: bool) -> None:
    """The bytes and the scales of rows, or why runtimes do not take such blocks."""
    stored = made.stored.sources["x.weight"]
    assert stored.scheme is None
    reason = stored.why_not_codes()
    assert reason == ("runtimes take no blocks of 4 x 32" if in_blocks else None)
    with open_weights(made) as source:
        found = source.codes("x.weight", 3, 8)
    np.testing.assert_array_equal(found.codes, BYTES[3:8])
    np.testing.assert_array_equal(found.scales, factors[3:8, :: 32 if in_blocks else COLUMNS])
    np.testing.assert_array_equal(found.dequantize(), of_bytes(BYTES[3:8]) * factors[3:8])


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
CODES4 = RANDOM.integers(0, 16, (ROWS, COLUMNS)).astype(np.uint8)
PACKED4 = RawTensor("U8", CODES4[:, 0::2] | CODES4[:, 1::2] << 4)


def test_nvfp4_of_compressed_tensors(tmp_path: Path) -> None:
    scales = BYTES[:, : COLUMNS // 16]
    tensors = {
        "weight_packed": PACKED4, "weight_scale": fp8(scales), "weight_global_scale": f32([32.0]),
    }  # fmt: skip
    made = write(tmp_path, tensors, q.compressed_settings("nvfp4-pack-quantized"))
    factors = np.repeat(of_bytes(scales) / 32, 16, axis=1)
    np.testing.assert_array_equal(rows(made), E2M1[CODES4] * factors)


def test_nvfp4_of_modelopt(tmp_path: Path) -> None:
    scales = BYTES[:, : COLUMNS // 16]
    tensors = {"weight": PACKED4, "weight_scale": fp8(scales), "weight_scale_2": f32(0.25)}
    settings = {"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}
    factors = np.repeat(of_bytes(scales) * 0.25, 16, axis=1)
    np.testing.assert_array_equal(rows(write(tmp_path, tensors, settings)), E2M1[CODES4] * factors)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("weight_packed", q.compressed_settings("mxfp4-pack-quantized")),
        ("weight", {"quant_method": "quark"}),
    ],
)
def test_mxfp4(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    exponents = RANDOM.integers(120, 130, (ROWS, COLUMNS // 32)).astype(np.uint8)
    tensors = {name: PACKED4, "weight_scale": RawTensor("U8", exponents)}
    factors = np.repeat(2.0 ** (exponents.astype(np.float32) - 127), 32, axis=1)
    np.testing.assert_array_equal(rows(write(tmp_path, tensors, settings)), E2M1[CODES4] * factors)


def four_bits(*, nested: bool) -> tuple[dict[str, RawTensor], NDArray[np.float32]]:
    """Bitsandbytes' parts of a weight, in blocks of 48, which end within rows; and its values."""
    block, outer = 48, 4
    count = -(-ROWS * COLUMNS // block)
    table = np.linspace(-1, 1, 16, dtype=np.float32)
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16",
                             "shape": [ROWS, COLUMNS]}  # fmt: skip
    pairs = CODES4.reshape(-1)
    parts = {
        "weight": RawTensor("U8", (pairs[0::2] << 4 | pairs[1::2])[:, None]),
        "weight.quant_map": f32(table),
    }
    magnitudes = RANDOM.uniform(0.1, 1, count).astype(np.float32)
    if nested:
        codes = RANDOM.integers(0, 256, count).astype(np.uint8)
        inner = np.linspace(-0.5, 0.5, 256, dtype=np.float32)
        outers = RANDOM.uniform(0.5, 1, -(-count // outer)).astype(np.float32)
        magnitudes = inner[codes] * np.repeat(outers, outer)[:count] + np.float32(0.75)
        state |= {"nested_blocksize": outer, "nested_offset": 0.75, "nested_dtype": "float32"}
        parts |= {
            "weight.absmax": RawTensor("U8", codes),
            "weight.nested_absmax": f32(outers),
            "weight.nested_quant_map": f32(inner),
        }
    else:
        parts["weight.absmax"] = f32(magnitudes)
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    parts["weight.quant_state.bitsandbytes__nf4"] = RawTensor("U8", text)
    values = table[pairs] * np.repeat(magnitudes, block)[: pairs.size]
    return parts, values.reshape(ROWS, COLUMNS)


BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}


@pytest.mark.parametrize("nested", [False, True])
def test_four_bits_of_bitsandbytes(tmp_path: Path, nested: bool) -> None:
    parts, values = four_bits(nested=nested)
    made = write(tmp_path, parts, BNB)
    np.testing.assert_array_equal(rows(made), values)
    assert made.stored.sources["x.weight"].precision is None


def test_eight_bits_of_bitsandbytes(tmp_path: Path) -> None:
    codes = RANDOM.integers(-127, 128, (ROWS, COLUMNS)).astype(np.int8)
    largest = RANDOM.uniform(0.1, 1, ROWS).astype(np.float32)
    tensors = {"weight": RawTensor("I8", codes), "SCB": f32(largest)}
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    made = write(
        tmp_path, tensors | {"weight_format": RawTensor("U8", np.zeros((), "u1"))}, settings
    )
    wanted = codes.astype(np.float32) * (largest / np.float32(127))[:, None]
    np.testing.assert_array_equal(rows(made), wanted)
    assert str(made.stored.sources["x.weight"].precision) == "int8 sym channel"
    assert list(made.dropped) == ["x.weight_format"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"shape": [10, -1], "blocksize": 48}', '{"shape": 3}']
)
def test_a_state_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    parts, _ = four_bits(nested=False)
    content = np.frombuffer(text.encode(), np.uint8)
    parts["weight.quant_state.bitsandbytes__nf4"] = RawTensor("U8", content)
    with pytest.raises(CheckpointError, match="bitsandbytes__nf4 that cannot be read"):
        open_weights(write(tmp_path, parts, BNB))


def test_a_state_of_another_shape(tmp_path: Path) -> None:
    parts, _ = four_bits(nested=True)
    parts["weight"] = RawTensor("U8", parts["weight"].data[:-1])
    with pytest.raises(
        CheckpointError, match=r"\[10, 64\] in blocks of 48 needs 320 U8 in x.weight"
    ):
        open_weights(write(tmp_path, parts, BNB))


def test_weights_that_are_floats_stay_so(tmp_path: Path) -> None:
    made = write(tmp_path, {"weight": bf16(np.ones((4, 4)))}, BNB)
    np.testing.assert_array_equal(rows_of(made), np.ones((4, 4)))


def rows_of(checkpoint: Checkpoint) -> NDArray[np.float32]:
    with open_weights(checkpoint) as source:
        return source.rows("x.weight")
