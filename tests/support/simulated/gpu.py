"""Operators of CUDA and HIP devices."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.backends.torch.simulated.device import activate
from tests.support.simulated.case import Case
from tests.support.simulated.numbers import codes, floats

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

ROWS, COLUMNS, GROUP = 48, 256, 64
CHIP = "cuda-sm90"


def pairs(rows: int = ROWS, columns: int = COLUMNS) -> Any:
    """Two codes of 4 bits a byte, the even column in the high half."""
    return codes(rows, columns // 2, low=0, high=255, dtype="uint8")


def int4_weight(rows: int = ROWS, columns: int = COLUMNS, tiles: int = 8) -> Any:
    """A packed weight on the host, to be moved: its order is the same on all chips."""
    place = activate(CHIP)[0]
    return torch.ops.aten._convert_weight_to_int4pack(pairs(rows, columns).to(place), tiles).cpu()


def scales_and_zeros(rows: int = ROWS, groups: int = COLUMNS // GROUP, **kinds: str) -> Any:
    return floats(groups, rows, 2, **kinds) / 8


def dequantized(weight: Any, both: Any, group: int) -> Any:
    values = torch.stack((weight >> 4, weight & 15), -1).flatten(1).float() - 8
    scales, zeros = both.float().permute(2, 1, 0).repeat_interleave(group, -1)
    return (values * scales + zeros).bfloat16().float()


def eights(*shape: int) -> Any:
    return floats(*shape, dtype="float32").to(torch.float8_e4m3fn)


CASES = (
    Case(
        "aten::_convert_weight_to_int4pack",
        lambda: {"self": pairs(), "innerKTiles": 8},
        lambda **_: int4_weight(),
        (
            (lambda: {"self": codes(48, 128)}, "expected uint8"),
            (lambda: {"self": pairs()[0]}, "expected a matrix"),
            (lambda: {"self": pairs(256, 96).t()}, "expected a contiguous weight"),
            (lambda: {"innerKTiles": 1}, "innerKTiles is 1"),
            (lambda: {"self": pairs(48, 192)}, "K 192 is no multiple of 128"),
            (lambda: {"self": pairs(52)}, "N 52 is no multiple of 8"),
        ),
        chips=("cuda-sm90", "cuda-sm80", "rocm-gfx942", "rocm-gfx90a"),
        without={"cuda-sm75": "compute capability 8.0", "rocm-gfx1100": "CDNA2"},
    ),
    Case(
        "aten::_weight_int4pack_mm",
        lambda: {
            "self": floats(3, COLUMNS),
            "mat2": int4_weight(),
            "qGroupSize": GROUP,
            "qScaleAndZeros": scales_and_zeros(),
        },
        lambda self, qScaleAndZeros, **_: (  # noqa: N803 - torch's names
            self.float() @ dequantized(pairs(), qScaleAndZeros, GROUP).t()
        ).bfloat16(),
        (
            (lambda: {"self": floats(3, 256, dtype="float16")}, "contiguous bfloat16 matrix"),
            (lambda: {"self": floats(256, 3).t()}, "contiguous bfloat16 matrix"),
            (lambda: {"self": floats(3, 128)}, "is no weight of 128 columns"),
            (lambda: {"mat2": int4_weight().flatten(2)}, "of 4 dimensions"),
            (lambda: {"qGroupSize": 48}, "qGroupSize is 48"),
            (lambda: {"qGroupSize": 128}, r"bfloat16 \[2, 48, 2\], got bfloat16 \[4, 48, 2\]"),
            (lambda: {"qScaleAndZeros": scales_and_zeros(40)}, r"\[4, 48, 2\], got"),
            (lambda: {"qScaleAndZeros": scales_and_zeros(dtype="float32")}, "got float32"),
        ),
        chips=("cuda-sm90", "cuda-sm80", "rocm-gfx942", "rocm-gfx90a"),
        without={"cuda-sm75": "compute capability 8.0", "dcu-gfx936": "CDNA2"},
    ),
    Case(
        "aten::_weight_int8pack_mm",
        lambda: {"self": floats(3, 40), "mat2": codes(24, 40), "scales": floats(24) / 64},
        lambda self, mat2, scales: (self.float() @ mat2.float().t() * scales.float()).bfloat16(),
        (
            (lambda: {"self": codes(3, 40)}, "expected x of floats"),
            (lambda: {"mat2": codes(24, 40, dtype="int16")}, "expected int8"),
            (lambda: {"mat2": codes(24, 48)}, "K dimension mismatch"),
            (lambda: {"scales": floats(23)}, "output dim mismatch"),
            (lambda: {"scales": floats(24, 1)}, "expected 1 dimensions"),
        ),
        chips=("cuda-sm90", "cuda-sm75", "rocm-gfx1100", "dcu-gfx936"),
    ),
    Case(
        "aten::_int_mm",
        lambda: {"self": codes(17, 40), "mat2": codes(24, 40).t()},
        lambda self, mat2: (self.double() @ mat2.double()).int(),
        (
            (lambda: {"self": codes(16, 40)}, "needs to be greater than 16, but got 16"),
            (
                lambda: {"self": codes(17, 36), "mat2": codes(24, 36).t()},
                "multiple of 8, but got 36",
            ),
            (lambda: {"mat2": codes(20, 40).t()}, "multiple of 8, but got 20"),
            (lambda: {"mat2": codes(24, 48).t()}, "needs to match"),
            (lambda: {"self": floats(17, 40)}, "expected int8 matrices"),
        ),
        chips=("cuda-sm90", "cuda-sm75", "rocm-gfx1100", "dcu-gfx936"),
    ),
    Case(
        "aten::_scaled_mm",
        lambda: {
            "self": eights(5, 32), "mat2": eights(48, 32).t(), "out_dtype": torch.bfloat16,
            "scale_a": floats(5, 1, dtype="float32"), "scale_b": floats(1, 48, dtype="float32"),
        },
        lambda self, mat2, scale_a, scale_b, **_: (
            self.float() @ mat2.float() * scale_a * scale_b
        ).bfloat16(),
        (
            (lambda: {"self": floats(5, 32)}, "expected two matrices of float8_e4m3fn"),
            (lambda: {"mat2": eights(48, 48).t()}, "cannot be multiplied"),
            (lambda: {"self": eights(5, 24), "mat2": eights(48, 24).t()}, "divisible by 16"),
            (lambda: {"mat2": eights(32, 48)}, "column major"),
            (lambda: {"scale_a": floats(5, dtype="float32")}, "scales are singletons"),
            (lambda: {"scale_a": floats(5, 1)}, "both scales must be float32"),
            (lambda: {"bias": floats(48, dtype="float32")}, "expected a bias of 48 bfloat16"),
        ),
        chips=("cuda-sm90", "cuda-sm89"),
        without={
            "cuda-sm80": "compute capability >= 9.0 or 8.9",
            "rocm-gfx90a": "MI300",
            "rocm-gfx942": "float8_e4m3fnuz",
        },
    ),
    Case(
        "aten::_grouped_mm",
        lambda: {
            "self": floats(9, 32), "mat2": floats(3, 32, 24),
            "offs": torch.tensor([4, 4, 9], dtype=torch.int32),
        },
        lambda self, mat2, offs: torch.cat([self[:4] @ mat2[0], self[4:] @ mat2[2]]),
        (
            (lambda: {"offs": None}, "Offsets tensor not provided"),
            (lambda: {"offs": torch.tensor([4, 4, 9])}, "int32"),
            (lambda: {"offs": torch.tensor([4, 9], dtype=torch.int32)}, "batch sizes"),
            (lambda: {"offs": torch.tensor([4, 3, 9], dtype=torch.int32)}, "offs must grow"),
            (lambda: {"offs": torch.tensor([4, 4, 10], dtype=torch.int32)}, "at most 9"),
            (lambda: {"self": floats(9, 36), "mat2": floats(3, 36, 24)}, "multiple of 16 bytes"),
            (lambda: {"mat2": floats(3, 40, 24)}, "contraction dimension"),
            (lambda: {"self": floats(9, 32, dtype="float16")}, "bfloat16"),
            (lambda: {"self": floats(3, 9, 32)}, "multiplies"),
        ),
        chips=("cuda-sm90", "cuda-sm75", "rocm-gfx90a"),
    ),
)  # fmt: skip
