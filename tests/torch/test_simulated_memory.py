"""The memory of a simulated device is counted and limited as a real one's."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from qdeploy.backends.torch.simulated.device import activate, state

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


@pytest.fixture
def device() -> Any:
    return activate("cuda-sm90")[0]


def test_memory_counts_live_storages_once(device: Any) -> None:
    memory, module = state(device).memory, torch.get_device_module(device)
    gc.collect()
    before = memory.allocated
    memory.reset_peak()
    x = torch.zeros(100, device=device)
    views = [x[10:], x.view(10, 10), x.detach()]
    assert module.memory_allocated(device) == before + 400
    y = x + 1
    assert module.memory_allocated(device) == before + 800
    del x
    assert module.memory_allocated(device) == before + 800
    views.clear()
    assert module.memory_allocated(device) == before + 400
    del y
    assert module.memory_allocated(device) == before
    assert module.max_memory_allocated(device) == before + 800


@pytest.fixture
def small(device: Any) -> Any:
    memory = state(device).memory
    gc.collect()
    memory.limit = memory.allocated + 1000
    yield device
    memory.limit = None


def test_a_device_runs_out_of_memory_as_cuda_does(small: Any) -> None:
    module = torch.get_device_module(small)
    free, total = module.mem_get_info(small)
    assert (free, total) == (1000, state(small).memory.limit)
    x = torch.zeros(150, device=small)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: torch.empty(10**9, device=small),
        lambda: torch.ones(101, device=small),
        lambda: torch.zeros(200).to(small),
        lambda: x + 1,
        lambda: torch.cat([x, x]),
    )
    for too_much in calls:
        with pytest.raises(torch.OutOfMemoryError, match=r"out of memory\. Tried to allocate"):
            too_much()
    assert module.mem_get_info(small)[0] == 400
    assert torch.zeros(100, device=small).device == small


def test_the_hosts_memory_is_the_limit_where_there_is_no_other(device: Any) -> None:
    free, total = torch.get_device_module(device).mem_get_info(device)
    assert 0 < free <= total
    with pytest.raises(torch.OutOfMemoryError, match="host"):
        torch.empty(2**50, device=device)
