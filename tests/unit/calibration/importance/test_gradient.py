"""Each reverse agrees with differences of the function that it is the reverse of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.rope import Rope
from qdeploy.calibration.importance.gradient import (
    attend_gradient,
    rms_norm_gradient,
    rotate_gradient,
    routing_gradient,
    swiglu_gradient,
)
from qdeploy.forward.arithmetic import attend, rms_norm, rotate, routing, silu

Floats = NDArray[np.float32]

STEP = 1e-2
CLOSE = 2e-3
CONFIG = GraphConfig(
    layers=1, hidden=64, intermediate=64, heads=4, kv_heads=2, head_dim=16, vocab_size=64,
    tied=True, epsilon=1e-6, theta=1e4, rope_scaling=None, positions=64, experts=8, top_k=3,
    renormalize=True,
)  # fmt: skip


def drawn(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def check(
    function: Callable[[Floats], Floats], x: Floats, reverse: Callable[[Floats], Floats]
) -> None:
    """Compare along random directions: <reverse(g), d> is the change of <function(x), g>."""
    gradient = drawn(98, *function(x).shape)
    pulled = reverse(gradient)
    assert pulled.dtype == np.float32
    assert pulled.shape == x.shape
    scale = np.linalg.norm(pulled)
    for seed in range(5):
        direction = drawn(seed, *x.shape)
        direction /= np.linalg.norm(direction)
        change = function(x + STEP * direction) - function(x - STEP * direction)
        found = float(np.sum(pulled * direction, dtype=np.float64))
        assert abs(found - float(np.sum(change * gradient, dtype=np.float64)) / (2 * STEP)) < (
            CLOSE * scale
        )


def test_rms_norm() -> None:
    weight = (1 + drawn(1, 64) / 8).astype(np.float32)
    x = drawn(0, 5, 64)
    check(lambda x: rms_norm(x, weight, 1e-6), x, lambda g: rms_norm_gradient(x, weight, 1e-6, g))


def test_rms_norm_of_zeros_is_finite() -> None:
    x = np.zeros((2, 8), np.float32)
    assert np.isfinite(rms_norm_gradient(x, np.ones(8, np.float32), 1e-6, x + 1)).all()


@pytest.mark.parametrize("factor", [1.0, 1.25])
def test_rotation(factor: float) -> None:
    rope = Rope(CONFIG.rope.frequencies, factor)
    check(lambda x: rotate(x, rope), drawn(0, 9, 4, 16), lambda g: rotate_gradient(g, rope))


@pytest.mark.parametrize("part", range(3), ids=["query", "key", "value"])
@pytest.mark.parametrize("queries", [4, 128], ids=["in blocks", "at once"])
def test_attention(part: int, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdeploy.calibration.importance.gradient.QUERIES", queries)
    inputs = [drawn(0, 9, 4, 16), drawn(1, 9, 2, 16), drawn(2, 9, 2, 16)]

    def attended(x: Floats) -> Floats:
        values = [x if k == part else a for k, a in enumerate(inputs)]
        out = values[0].copy()
        attend(out, *values[1:])
        return out

    check(
        attended, inputs[part], lambda g: attend_gradient(inputs[0], inputs[1], inputs[2], g)[part]
    )


def test_swiglu() -> None:
    gate, up = 3 * drawn(0, 70, 32), drawn(1, 70, 32)
    check(lambda x: silu(x) * up, gate, lambda g: swiglu_gradient(gate, up, g)[0])
    check(lambda x: silu(gate) * x, up, lambda g: swiglu_gradient(gate, up, g)[1])


def test_swiglu_of_large_gates_is_finite() -> None:
    gate = np.array([[-1e4, 1e4, 0]], np.float32)
    of_gate, of_up = swiglu_gradient(gate, gate, np.ones_like(gate))
    assert np.isfinite(of_gate).all()
    np.testing.assert_allclose(of_up, [[0, 1e4, 0]])


@pytest.mark.parametrize("renormalize", [True, False])
def test_routing(renormalize: bool) -> None:
    config = replace(CONFIG, renormalize=renormalize)
    orders = np.stack([np.random.default_rng(k).permutation(8) for k in range(6)])
    logits = (orders / 3).astype(np.float32)
    routed = routing(logits, config) > 0
    check(
        lambda x: routing(x, config) * routed,
        logits,
        lambda g: routing_gradient(logits, config, g * routed),
    )
