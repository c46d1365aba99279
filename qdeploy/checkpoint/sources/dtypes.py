"""Data types of stored weights, and their conversion to float32, which is exact but for F64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.quantization import e4m3

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F8_E4M3": np.dtype("u1"),
}
"""NumPy dtype of the stored elements, by safetensors dtype. Files are little-endian."""


def widen(raw: NDArray[Any], dtype: str, out: NDArray[np.float32]) -> None:
    """Convert *raw*, elements of the safetensors *dtype*, to float32 in *out*."""
    if dtype == "BF16":  # the upper half of a float32
        bits = out.view(np.uint32)
        np.copyto(bits, raw)
        np.left_shift(bits, 16, out=bits)
    elif dtype == "F8_E4M3":
        np.take(e4m3.values(), raw, out=out, mode="clip")  # the default, "raise", makes a copy
    else:
        with np.errstate(over="ignore"):  # infinity: who reads weights refuses it
            np.copyto(out, raw, casting="same_kind")
