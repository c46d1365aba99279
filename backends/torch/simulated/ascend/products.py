"""Products of Ascend, as the vendor's documentation of operators names them."""

from __future__ import annotations

from qdeploy.backends.torch.simulated.checks import require
from qdeploy.backends.torch.simulated.chips import Chip

A2_A3 = frozenset({"A2", "A3"})
INFERENCE = "310P"
LARGEST_AXIS = 65535
"""Largest K and N of a product, of all products: a wider weight is multiplied in parts."""


def require_product(chip: Chip, operator: str, products: frozenset[str]) -> None:
    """Raise where the vendor does not list the operator for the chip."""
    listed = " and ".join(sorted(products))
    require(
        chip.product in products, operator, f"is documented for {listed}, not for {chip.product}"
    )


def require_axes(operator: str, *sizes: int) -> None:
    """Raise where K or N is outside what a product takes."""
    for size in sizes:
        require(
            1 <= size <= LARGEST_AXIS, operator,
            f"K and N are within 1 to {LARGEST_AXIS}, and one is {size}",
        )  # fmt: skip
