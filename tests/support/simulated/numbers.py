"""Random tensors on the host, the same at every call with the same shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


def floats(*shape: int, dtype: str = "bfloat16") -> Any:
    """Normally distributed numbers."""
    made = torch.from_numpy(np.random.default_rng(sum(shape)).standard_normal(shape))
    return made.float().to(getattr(torch, dtype))


def codes(*shape: int, low: int = -128, high: int = 127, dtype: str = "int8") -> Any:
    """Integers from *low* to *high*."""
    made = np.random.default_rng(sum(shape)).integers(low, high + 1, shape)
    return torch.from_numpy(made).to(getattr(torch, dtype))
