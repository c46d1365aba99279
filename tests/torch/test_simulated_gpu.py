"""Operators of CUDA and HIP devices on simulated ones: right calls, refused ones, other chips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.backends.torch.simulated.device import activate

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

CHIP = "cuda-sm90"
ROWS, COLUMNS, GROUP = 48, 256, 64
Arguments = dict[str, Any]


def random(*shape: int, dtype: str = "bfloat16") -> Any:
    made = torch.from_numpy(np.random.default_rng(sum(shape)).standard_normal(shape))
    return made.float().to(getattr(torch, dtype))


def codes(*shape: int, low: int = -128, high: int = 128, dtype: str = "int8") -> Any:
    made = np.random.default_rng(sum(shape)).integers(low, high, shape)
    return torch.from_numpy(made).to(getattr(torch, dtype))


def packed_pairs(rows: int = ROWS, columns: int = COLUMNS) -> Any:
    return codes(rows, columns // 2, low=0, high=256, dtype="uint8")


def int4_weight(rows: int = ROWS, columns: int = COLUMNS, tiles: int = 8) -> Any:
    """A packed weight on the host, to be moved: its order is the same on all chips."""
    place = activate(CHIP)[0]
    packed = torch.ops.aten._convert_weight_to_int4pack(
        packed_pairs(rows, columns).to(place), tiles
    )
    return packed.cpu()


def scales_and_zeros(rows: int = ROWS, groups: int = COLUMNS // GROUP, **kinds: str) -> Any:
    return random(groups, rows, 2, **kinds) / 8


def eights(*shape: int) -> Any:
    return random(*shape, dtype="float32").to(torch.float8_e4m3fn)


@dataclass(frozen=True)
class Case:
    """An operator with arguments that it takes, what it gives, and changes that it refuses."""

    operator: str
    right: Callable[[], Arguments]
    wanted: Callable[..., Any]
    wrong: tuple[tuple[Callable[[], Arguments], str], ...]
    chips: tuple[str, ...] = ("cuda-sm90", "cuda-sm80", "rocm-gfx942", "rocm-gfx90a")
    without: dict[str, str] = field(default_factory=dict)
    fake: bool = True


def dequantized(pairs: Any, both: Any, group: int) -> Any:
    values = torch.stack((pairs >> 4, pairs & 15), -1).flatten(1).float() - 8
    scales, zeros = both.float().permute(2, 1, 0).repeat_interleave(group, -1)
    return (values * scales + zeros).bfloat16().float()


CASES = (
    Case(
        "_convert_weight_to_int4pack",
        lambda: {"self": packed_pairs(), "innerKTiles": 8},
        lambda **_: int4_weight(),
        (
            (lambda: {"self": codes(48, 128)}, "expected uint8"),
            (lambda: {"self": packed_pairs()[0]}, "expected a matrix"),
            (lambda: {"self": packed_pairs(256, 96).t()}, "expected a contiguous weight"),
            (lambda: {"innerKTiles": 1}, "innerKTiles is 1"),
            (lambda: {"self": packed_pairs(48, 192)}, "K 192 is no multiple of 128"),
            (lambda: {"self": packed_pairs(52)}, "N 52 is no multiple of 8"),
        ),
        without={"cuda-sm75": "compute capability 8.0", "rocm-gfx1100": "CDNA2"},
    ),
    Case(
        "_weight_int4pack_mm",
        lambda: {
            "self": random(3, COLUMNS),
            "mat2": int4_weight(),
            "qGroupSize": GROUP,
            "qScaleAndZeros": scales_and_zeros(),
        },
        lambda self, qScaleAndZeros, **_: (  # noqa: N803 - torch's names
            self.float() @ dequantized(packed_pairs(), qScaleAndZeros, GROUP).t()
        ).bfloat16(),
        (
            (lambda: {"self": random(3, 256, dtype="float16")}, "contiguous bfloat16 matrix"),
            (lambda: {"self": random(256, 3).t()}, "contiguous bfloat16 matrix"),
            (lambda: {"self": random(3, 128)}, "is no weight of 128 columns"),
            (lambda: {"mat2": int4_weight().flatten(2)}, "of 4 dimensions"),
            (lambda: {"qGroupSize": 48}, "qGroupSize is 48"),
            (lambda: {"qGroupSize": 128}, r"bfloat16 \[2, 48, 2\], got bfloat16 \[4, 48, 2\]"),
            (lambda: {"qScaleAndZeros": scales_and_zeros(40)}, r"\[4, 48, 2\], got"),
            (lambda: {"qScaleAndZeros": scales_and_zeros(dtype="float32")}, "got float32"),
        ),
        without={"cuda-sm75": "compute capability 8.0", "dcu-gfx936": "CDNA2"},
    ),
    Case(
        "_weight_int8pack_mm",
        lambda: {"self": random(3, 40), "mat2": codes(24, 40), "scales": random(24) / 64},
        lambda self, mat2, scales: (self.float() @ mat2.float().t() * scales.float()).bfloat16(),
        (
            (lambda: {"self": codes(3, 40)}, "expected x of floats"),
            (lambda: {"mat2": codes(24, 40, dtype="int16")}, "expected int8"),
            (lambda: {"mat2": codes(24, 48)}, "K dimension mismatch"),
            (lambda: {"scales": random(23)}, "output dim mismatch"),
            (lambda: {"scales": random(24, 1)}, "expected 1 dimensions"),
        ),
        chips=("cuda-sm75", "cuda-sm90", "rocm-gfx1100", "dcu-gfx936"),
    ),
    Case(
        "_int_mm",
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
            (lambda: {"self": random(17, 40)}, "expected int8 matrices"),
        ),
        chips=("cuda-sm75", "cuda-sm90", "rocm-gfx1100", "dcu-gfx936"),
    ),
    Case(
        "_scaled_mm",
        lambda: {
            "self": eights(5, 32), "mat2": eights(48, 32).t(), "out_dtype": torch.bfloat16,
            "scale_a": random(5, 1, dtype="float32"), "scale_b": random(1, 48, dtype="float32"),
        },
        lambda self, mat2, scale_a, scale_b, **_: (
            self.float() @ mat2.float() * scale_a * scale_b
        ).bfloat16(),
        (
            (lambda: {"self": random(5, 32)}, "expected two matrices of float8_e4m3fn"),
            (lambda: {"mat2": eights(48, 48).t()}, "cannot be multiplied"),
            (lambda: {"self": eights(5, 24), "mat2": eights(48, 24).t()}, "divisible by 16"),
            (lambda: {"mat2": eights(32, 48)}, "column major"),
            (lambda: {"scale_a": random(5, dtype="float32")}, "scales are singletons"),
            (lambda: {"scale_a": random(5, 1)}, "both scales must be float32"),
            (lambda: {"bias": random(48, dtype="float32")}, "expected a bias of 48 bfloat16"),
        ),
        chips=("cuda-sm90", "cuda-sm89"),
        without={
            "cuda-sm80": "compute capability >= 9.0 or 8.9",
            "rocm-gfx90a": "MI300",
            "rocm-gfx942": "float8_e4m3fnuz",
        },
    ),
    Case(
        "_grouped_mm",
        lambda: {
            "self": random(9, 32), "mat2": random(3, 32, 24),
            "offs": torch.tensor([4, 4, 9], dtype=torch.int32),
        },
        lambda self, mat2, offs: torch.cat([self[:4] @ mat2[0], self[4:] @ mat2[2]]),
        (
            (lambda: {"offs": None}, "Offsets tensor not provided"),
            (lambda: {"offs": torch.tensor([4, 4, 9])}, "int32"),
            (lambda: {"offs": torch.tensor([4, 9], dtype=torch.int32)}, "batch sizes"),
            (lambda: {"offs": torch.tensor([4, 3, 9], dtype=torch.int32)}, "offs must grow"),
            (lambda: {"offs": torch.tensor([4, 4, 10], dtype=torch.int32)}, "at most 9"),
            (lambda: {"self": random(9, 36), "mat2": random(3, 36, 24)}, "multiple of 16 bytes"),
            (lambda: {"mat2": random(3, 40, 24)}, "contraction dimension"),
            (lambda: {"self": random(9, 32, dtype="float16")}, "bfloat16"),
            (lambda: {"self": random(3, 9, 32)}, "multiplies"),
        ),
        chips=("cuda-sm75", "cuda-sm90", "rocm-gfx90a"),
    ),
)  # fmt: skip
RIGHT = [(case, chip) for case in CASES for chip in case.chips]
WRONG = [(case, change, told) for case in CASES for change, told in case.wrong]
WITHOUT = [(case, chip, told) for case in CASES for chip, told in case.without.items()]


def call(case: Case, arguments: Arguments, chip: str = CHIP) -> Any:
    device = activate(chip)[1]
    operator = getattr(torch.ops.aten, case.operator).default
    names = [argument.name for argument in operator._schema.arguments]
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    positional = [moved.pop(n) for n in names if n in moved and n not in ("out_dtype", "bias")]
    made = operator(*positional, **moved)
    assert made.device == device
    return made.cpu()


@pytest.mark.parametrize(("case", "chip"), RIGHT, ids=lambda v: getattr(v, "operator", v))
def test_a_right_call_gives_the_product(case: Case, chip: str) -> None:
    arguments = case.right()
    made, wanted = call(case, arguments, chip), case.wanted(**arguments)
    assert made.dtype == wanted.dtype
    torch.testing.assert_close(made, wanted)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operator)
def test_the_result_is_as_torchs_own_fake_kernel_says(case: Case) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    arguments = case.right()
    device = activate(CHIP)[0]
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    operator = getattr(torch.ops.aten, case.operator).default
    with FakeTensorMode():
        fakes = {
            k: torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device="cuda")
            if isinstance(v, torch.Tensor) else v
            for k, v in arguments.items()
        }  # fmt: skip
        fake = operator(**fakes)
    made = operator(**moved)
    assert (made.shape, made.stride(), made.dtype) == (fake.shape, fake.stride(), fake.dtype)


@pytest.mark.parametrize(
    ("case", "change", "told"), WRONG, ids=[f"{c.operator}: {told}" for c, _, told in WRONG]
)
def test_a_wrong_call_is_refused(case: Case, change: Callable[[], Arguments], told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        call(case, {**case.right(), **change()})


@pytest.mark.parametrize(
    ("case", "chip", "told"), WITHOUT, ids=[f"{c.operator} {chip}" for c, chip, _ in WITHOUT]
)
def test_a_chip_without_the_kernel_says_so(case: Case, chip: str, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        call(case, case.right(), chip)


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.operator)
def test_ascend_has_none_of_them(case: Case) -> None:
    with pytest.raises(NotImplementedError, match=f"Could not run 'aten::{case.operator}'"):
        call(case, case.right(), "ascend")


def test_ascend_has_torchs_own_loop_over_groups() -> None:
    case = CASES[-1]
    arguments = case.right()
    torch.testing.assert_close(call(case, arguments, "ascend"), case.wanted(**arguments))


def test_one_scale_for_each_matrix() -> None:
    x, other, one = eights(5, 32), eights(48, 32).t(), torch.tensor(0.5)
    case = next(case for case in CASES if case.operator == "_scaled_mm")
    arguments = {"self": x, "mat2": other, "scale_a": one, "scale_b": one}
    for dtype in (torch.bfloat16, torch.float32):
        made = call(case, {**arguments, "out_dtype": dtype})
        torch.testing.assert_close(made, (x.float() @ other.float() / 4).to(dtype))


def test_mi300_has_floats_of_its_own() -> None:
    fnuz, one = torch.float8_e4m3fnuz, torch.tensor(1.0)
    x, other = random(5, 32).to(fnuz), random(48, 32).to(fnuz).t()
    case = next(case for case in CASES if case.operator == "_scaled_mm")
    arguments = {
        "self": x, "mat2": other, "scale_a": one, "scale_b": one, "out_dtype": torch.bfloat16,
    }  # fmt: skip
    call(case, arguments, "rocm-gfx942")
    with pytest.raises(RuntimeError, match="float8_e4m3fn, got float8_e4m3fnuz"):
        call(case, arguments, "cuda-sm90")


def test_rows_of_no_group_are_not_a_number() -> None:
    case = next(case for case in CASES if case.operator == "_grouped_mm")
    made = call(case, {**case.right(), "offs": torch.tensor([4, 4, 7], dtype=torch.int32)})
    assert made[:7].isfinite().all()
    assert made[7:].isnan().all()


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 4).map(lambda n: 8 * n),
    tiles=st.sampled_from([2, 4, 8]),
    times=st.integers(1, 3),
)
def test_int4_codes_come_back_from_any_packing(rows: int, tiles: int, times: int) -> None:
    """A product with the unit matrix gives the weight."""
    columns = 16 * tiles * times
    pairs = packed_pairs(rows, columns)
    both = torch.tensor([1.0, 0.0], dtype=torch.bfloat16).expand(columns // 32, rows, 2)
    case = next(case for case in CASES if case.operator == "_weight_int4pack_mm")
    arguments = {
        "self": torch.eye(columns, dtype=torch.bfloat16), "qGroupSize": 32,
        "mat2": int4_weight(rows, columns, tiles), "qScaleAndZeros": both.contiguous(),
    }  # fmt: skip
    weight = torch.stack((pairs >> 4, pairs & 15), -1).flatten(1).float() - 8
    assert torch.equal(call(case, arguments).float().t(), weight)
