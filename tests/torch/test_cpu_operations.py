"""A CPU's operations compute what torch's own do."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.backends.torch import cpu_operations
from qdeploy.backends.torch.cpu_operations import CpuOperations
from qdeploy.backends.torch.operations import Operations
from qdeploy.system import info

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

DTYPES = {"bfloat16": 2.0**-7, "float32": 2.0**-20}
"""Relative error of two roundings of each."""


def normal(*shape: int, dtype: str, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 64), (7, 3, 32)])
def test_norm(dtype: str, shape: tuple[int, ...]) -> None:
    x, weight = normal(*shape, dtype=dtype), normal(shape[-1], dtype=dtype, seed=1)
    x[0] *= 1e-4  # where epsilon counts
    made, wanted = (kind().rms_norm(x, weight, 1e-6) for kind in (CpuOperations, Operations))
    assert made.dtype == x.dtype
    torch.testing.assert_close(made, wanted, rtol=2 * DTYPES[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotation(dtype: str) -> None:
    x, cos, sin = (
        normal(5, 4, 16, dtype=dtype, seed=0),
        normal(5, 1, 16, dtype=dtype, seed=1),
        normal(5, 1, 16, dtype=dtype, seed=2),
    )
    made, wanted = (kind().rotate(x, cos, sin) for kind in (CpuOperations, Operations))
    torch.testing.assert_close(made, wanted, rtol=DTYPES[dtype], atol=4 * DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("heads", "kv"), [(4, 2), (3, 3)])
@pytest.mark.parametrize(("length", "seen"), [(1, 9), (40, 40), (2, 40), (70, 133)])
def test_attention(
    dtype: str,
    fused: bool,
    heads: int,
    kv: int,
    length: int,
    seen: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks of 32 queries, where that many scores are too many; without AMX and with it."""
    monkeypatch.setattr(cpu_operations, "SCORES", 100)
    flags = frozenset({cpu_operations.AMX}) if fused else frozenset()
    monkeypatch.setattr(info, "cpu_flags", lambda: flags)
    query = normal(length, heads, 16, dtype=dtype)
    keys, values = (normal(kv, seen, 16, dtype=dtype, seed=seed) for seed in (1, 2))
    mask, causal = None, 1 < length == seen
    if 1 < length < seen:
        mask = torch.arange(seen - length, seen)[:, None] >= torch.arange(seen)
    made, wanted = (
        kind().attend(query, keys, values, mask, causal=causal)
        for kind in (CpuOperations, Operations)
    )
    assert made.shape == wanted.shape == query.shape
    torch.testing.assert_close(made, wanted, rtol=4 * DTYPES[dtype], atol=4 * DTYPES[dtype])
