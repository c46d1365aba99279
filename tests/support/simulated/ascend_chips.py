"""What cases of Ascend share."""

from __future__ import annotations

from typing import Any

from tests.support.simulated.numbers import floats

CHIP = "ascend-a2"
BOTH = (CHIP, "ascend-a3")
ALL = (*BOTH, "ascend-310p")
NOT_OLD = {"ascend-310p": "is documented for A2 and A3, not for 310P"}
K, N, GROUP = 128, 48, 32
HALF, FULL = 5, 6
"""Types by torch's numbers."""


def half(*shape: int) -> Any:
    return floats(*shape, dtype="float16")


def full(*shape: int) -> Any:
    return floats(*shape, dtype="float32")
