"""Settings for many requests at once: whether they are served, and the cache that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from qdeploy.backends.openvino.batching import cache
from qdeploy.backends.openvino.settings import (
    CPU_BATCH,
    KERNELS,
    MOST_KERNELS,
    Settings,
    resolve_settings,
)
from qdeploy.errors import InputError, OutOfMemory
from qdeploy.interface import Device, LoadOptions, Property
from tests.support.openvino_settings import CPU, GPU, NPU, SIMULATED_NPU, manifest


def batched(
    monkeypatch: pytest.MonkeyPatch,
    device: Device = CPU,
    *,
    free: int | None = 10**9,
    context: int | None = 1024,
    asked: Mapping[str, Property] | None = None,
) -> Settings:
    """Settings for 8 requests at once, of a model with 1 MB of weights and 1 kB a token."""
    monkeypatch.setattr(cache, "available_bytes", lambda: free)
    sizes = {"weight_bytes": 10**6, "kv_bytes_per_token": 10**3}
    planned = manifest({}, "u8").model_copy(update={"plan": sizes})
    options = LoadOptions(context=context, properties=asked or {}, concurrency=8)
    return resolve_settings(planned, replace(device, memory_bytes=free), options)


def test_many_requests_share_a_cache_that_keeps_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A context, 1024 tokens for each further request, and a block of each that is part full."""
    found = batched(monkeypatch)
    assert found.scheduler == {
        "enable_prefix_caching": True,
        "dynamic_split_fuse": True,
        "max_num_seqs": 8,
        "max_num_batched_tokens": CPU_BATCH,
        "num_kv_blocks": 8 * 1024 // 32 + 8,
    }
    limits = found.limits(100)
    assert (limits.concurrency, limits.logprobs, limits.json_schema) == (8, 0, True)


def test_kernels_of_ever_new_shapes_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU plugin's cache of them holds 5000 by default; see the soak."""
    assert batched(monkeypatch).plugin[KERNELS] == MOST_KERNELS
    assert batched(monkeypatch, asked={KERNELS: 1000}).plugin[KERNELS] == 1000
    assert KERNELS not in batched(monkeypatch, GPU).plugin


@pytest.mark.parametrize(
    ("free", "context", "tokens"),
    [(10**9, 256, 8 * 256), (10**9, 4096, 4096 + 7 * 1024), (7 * 10**6, 4096, 4600),
     (None, 4096, 4096 + 7 * 1024)],
)  # fmt: skip
def test_the_cache_fits_into_the_free_memory_and_holds_a_context(
    free: int | None, context: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, block in ((CPU, 32), (GPU, 16)):
        found = batched(monkeypatch, device, free=free, context=context)
        assert found.scheduler is not None
        assert found.scheduler["num_kv_blocks"] == -(-tokens // block) + 8


def test_too_little_memory_for_one_context_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemory, match="a key-value cache of 4096 tokens does not fit"):
        batched(monkeypatch, free=6 * 10**6, context=4096)


def test_a_size_that_is_asked_for_is_taken_if_it_holds_a_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = batched(monkeypatch, asked={"cache_size": 1, "enable_prefix_caching": False})
    assert found.scheduler is not None
    assert found.scheduler["cache_size"] == 1
    assert found.scheduler["enable_prefix_caching"] is False
    assert "num_kv_blocks" not in found.scheduler
    assert batched(monkeypatch, asked={"num_kv_blocks": 32}).concurrency == 8
    with pytest.raises(InputError, match="asked for holds 992 tokens, and a context has 1024"):
        batched(monkeypatch, asked={"num_kv_blocks": 31})


@pytest.mark.parametrize("device", [NPU, SIMULATED_NPU, CPU])
def test_one_request_is_served_where_attention_is_not_paged(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpaged: dict[str, Property] = {"ATTENTION_BACKEND": "SDPA"} if device is CPU else {}
    limits = batched(monkeypatch, device, context=None, asked=unpaged).limits(100)
    assert (limits.concurrency, limits.logprobs, limits.json_schema) == (1, None, True)
