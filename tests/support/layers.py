"""A linear layer's weights and inputs, made up, for tests of calibrated quantization."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def weights(rows: int, columns: int, seed: int = 0) -> Floats:
    """Gaussian weights [N, K]."""
    values = np.random.default_rng(seed).standard_normal((rows, columns))
    return np.asarray(values * 0.02, np.float32)


def inputs(tokens: int, columns: int, seed: int = 0, *, noise: float = 0.3) -> Floats:
    """Inputs of different sizes [T, K], in few directions and *noise* in all others."""
    random = np.random.default_rng(seed)
    few = max(1, columns // 8)
    common = random.standard_normal((tokens, few)) @ random.standard_normal((few, columns))
    values = common / few**0.5 + noise * random.standard_normal((tokens, columns))
    return np.asarray(values * np.exp(0.7 * random.standard_normal(columns)), np.float32)


def moments(x: Floats, y: Floats | None = None) -> Floats:
    """The mean of x' y over all tokens, [K, K]; of x' x without *y*."""
    return np.asarray(x.T @ (x if y is None else y) / np.float32(len(x)), np.float32)


def losses(off: NDArray[np.floating], second: Floats) -> Doubles:
    """The loss e H e' of each row of e, *off* [N, K]."""
    e = off.astype(np.float64)
    return np.asarray(np.einsum("nk,nk->n", e @ second.astype(np.float64), e))
