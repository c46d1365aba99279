"""Types by the numbers that the vendor's operators take, and rows of types that go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, str]
"""Types that go together, by argument: one or several of torch's names, and `-` for none given."""


def fits(row: Row, found: Mapping[str, str]) -> bool:
    """Whether the row allows the types that were found. What it leaves out may not be given."""
    required = {what for what, kinds in row.items() if "-" not in kinds.split()} - {"output"}
    return required <= found.keys() and all(
        kind in row.get(what, "").split() for what, kind in found.items()
    )


def type_of(number: int) -> Any:
    """Return the type of a number. Torch makes the number of a type that is given for an integer.

    Raises:
        RuntimeError: it is the number of a type that the simulation does not have.
    """
    import torch

    types = {
        1: torch.int8, 3: torch.int32, 5: torch.float16, 6: torch.float32, 15: torch.bfloat16,
    }  # fmt: skip
    if number not in types:
        raise RuntimeError(f"the simulation has no results of type {number}")
    return types[number]
