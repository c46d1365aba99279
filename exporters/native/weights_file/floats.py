"""The types in which floats are stored, and the conversion of float32 to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of an element, by the type."""


def narrow(values: NDArray[np.float32], dtype: str, tensor: str) -> NDArray[np.generic]:
    """Finite floats in the type *dtype*, rounded to nearest, ties to even.

    NumPy has no bfloat16: such values are given by their bits, as uint16.

    Raises:
        CheckpointError: the type has no number as large as one of them, by the name *tensor*.
    """
    import numpy as np

    if dtype == "float32":
        return values
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        upper = (bits + (np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        fits = ((upper & 0x7F80) != 0x7F80).all()
        return _checked(upper, fits, "bf16", tensor)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    return _checked(halves, np.isfinite(halves).all(), "fp16", tensor)


def _checked(
    made: NDArray[np.generic], fits: np.bool, dtype: str, tensor: str
) -> NDArray[np.generic]:
    if not fits:
        raise CheckpointError(f"a weight is too large for {dtype}", where=tensor)
    return made
