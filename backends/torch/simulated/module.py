"""`torch.simulated`: what torch, transformers and sessions ask of a device's module. Imports torch.

`torch.accelerator.synchronize` and its memory functions do not work: they go to an allocator and
streams in C++. The functions here are those of `torch.get_device_module("simulated")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from qdeploy.backends.torch.simulated.state import STATES, TYPE, State

if TYPE_CHECKING:
    from typing import TypeAlias

    DeviceLike: TypeAlias = torch.device | str | int | None

_current = 0


def _index(device: DeviceLike = None) -> int:
    if isinstance(device, int):
        return device
    index = None if device is None else torch.device(device).index
    return _current if index is None else int(index)


def _state(device: DeviceLike = None) -> State:
    return STATES[_index(device)]


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def _is_in_bad_fork() -> bool:
    return False


def device_count() -> int:
    """Devices of all chips."""
    return len(STATES)


def current_device() -> int:
    return _current


def set_device(device: DeviceLike) -> None:
    global _current
    _current = _index(device)


def synchronize(device: DeviceLike = None) -> None:
    """Nothing to wait for: operators return when they are done."""


def manual_seed(seed: int) -> None:
    """Nothing to seed: random operators use the CPU's generator."""


manual_seed_all = manual_seed


def get_amp_supported_dtype() -> list[Any]:
    return [torch.float16, torch.bfloat16]


def get_device_name(device: DeviceLike = None) -> str:
    return f"{TYPE}: {_state(device).chip.title}"


def empty_cache() -> None:
    """Nothing to free: there is no cache."""


def mem_get_info(device: DeviceLike = None) -> tuple[int, int]:
    """Free and total memory in bytes."""
    memory = _state(device).memory
    return memory.total - memory.allocated, memory.total


def memory_allocated(device: DeviceLike = None) -> int:
    return _state(device).memory.allocated


def max_memory_allocated(device: DeviceLike = None) -> int:
    return _state(device).memory.peak


memory_reserved, max_memory_reserved = memory_allocated, max_memory_allocated


def reset_peak_memory_stats(device: DeviceLike = None) -> None:
    _state(device).memory.reset_peak()
