"""Vendors' operators on simulated devices: right calls pass, and each wrong one is refused."""

from __future__ import annotations

import pytest

from tests.support.simulated import ascend, gpu
from tests.support.simulated.case import Case, Change, on, operator

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

ROUNDING = 2e-2
"""Of bfloat16, whose results are of the order of one."""
CASES = (*gpu.CASES, *ascend.CASES)
RIGHT = [(case, chip) for case in CASES for chip in case.chips]
WRONG = [(case, change, told) for case in CASES for change, told in case.wrong]
WITHOUT = [(case, chip, told) for case in CASES for chip, told in case.without.items()]


@pytest.mark.parametrize(("case", "chip"), RIGHT, ids=str)
def test_a_right_call_gives_the_result(case: Case, chip: str) -> None:
    made, wanted = case.call(chip), case.wanted(**case.right())
    torch.testing.assert_close(made, wanted, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    ("case", "change", "told"), WRONG, ids=[f"{case}: {told}" for case, _, told in WRONG]
)
def test_a_wrong_call_is_refused(case: Case, change: Change, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        case.call(case.chips[0], change())


@pytest.mark.parametrize(("case", "chip", "told"), WITHOUT, ids=str)
def test_a_chip_without_the_operator_says_so(case: Case, chip: str, told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        case.call(chip)


@pytest.mark.parametrize("case", gpu.CASES, ids=str)
def test_the_result_is_as_torchs_own_fake_kernel_says(case: Case) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    made = case.call(gpu.CHIP)
    with FakeTensorMode():
        fake = on("cuda", operator(case.operator), case.right())
    assert (made.shape, made.stride(), made.dtype) == (fake.shape, fake.stride(), fake.dtype)
