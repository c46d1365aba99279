"""Operators of Ascend."""

from __future__ import annotations

from tests.support.simulated.ascend_chips import CHIP
from tests.support.simulated.ascend_layers import LAYERS
from tests.support.simulated.ascend_products import PRODUCTS

CASES = (*PRODUCTS, *LAYERS)

__all__ = ["CASES", "CHIP"]
