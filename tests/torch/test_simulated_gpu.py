"""Operators of CUDA and HIP devices beyond one call each: other types, packing of any size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.backends.torch.simulated.device import activate
from tests.support.simulated.case import Case
from tests.support.simulated.gpu import CASES, CHIP, eights, int4_weight, pairs
from tests.support.simulated.numbers import floats

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.operator == f"aten::{name}")


def test_one_scale_for_each_matrix() -> None:
    x, other, one = eights(5, 32), eights(48, 32).t(), torch.tensor(0.5)
    arguments = {"self": x, "mat2": other, "scale_a": one, "scale_b": one}
    for dtype in (torch.bfloat16, torch.float32):
        made = case_of("_scaled_mm").call(CHIP, {**arguments, "out_dtype": dtype})
        torch.testing.assert_close(made, (x.float() @ other.float() / 4).to(dtype))


def test_mi300_has_8_bit_floats_of_its_own() -> None:
    fnuz, case = torch.float8_e4m3fnuz, case_of("_scaled_mm")
    arguments = {"self": floats(5, 32).to(fnuz), "mat2": floats(48, 32).to(fnuz).t()}
    case.call("rocm-gfx942", arguments)
    with pytest.raises(RuntimeError, match="float8_e4m3fn, got float8_e4m3fnuz"):
        case.call(CHIP, arguments)


def test_rows_of_no_group_are_not_a_number() -> None:
    offs = torch.tensor([4, 4, 7], dtype=torch.int32)
    made = case_of("_grouped_mm").call(CHIP, {"offs": offs})
    assert made[:7].isfinite().all()
    assert made[7:].isnan().all()


@pytest.mark.parametrize("case", CASES[:-1], ids=str)
def test_ascend_has_none_of_them(case: Case) -> None:
    with pytest.raises(NotImplementedError, match=f"Could not run '{case.operator}'"):
        case.call("ascend")


def test_ascend_has_torchs_own_loop_over_groups() -> None:
    case = case_of("_grouped_mm")
    torch.testing.assert_close(case.call("ascend"), case.wanted(**case.right()))


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 4).map(lambda n: 8 * n),
    tiles=st.sampled_from([2, 4, 8]),
    times=st.integers(1, 3),
)
def test_int4_codes_come_back_from_any_packing(rows: int, tiles: int, times: int) -> None:
    """A product with the unit matrix gives the weight."""
    columns, device = 16 * tiles * times, activate(CHIP)[0]
    packed = int4_weight(rows, columns, tiles).to(device)
    both = torch.tensor([1.0, 0.0], dtype=torch.bfloat16, device=device)
    unit = torch.eye(columns, dtype=torch.bfloat16, device=device)
    scales = both.expand(columns // 32, rows, 2).contiguous()
    made = torch.ops.aten._weight_int4pack_mm(unit, packed, 32, scales)
    bytes_ = pairs(rows, columns)
    wanted = torch.stack((bytes_ >> 4, bytes_ & 15), -1).flatten(1).float() - 8
    assert torch.equal(made.cpu().float().t(), wanted)
