"""Activating simulated devices, and what a test or a session asks of one.

    first, second = activate("ascend")
    x = torch.ones(2, 3).to(first)
    state(first).operators, state(first).memory.allocated

The devices of a chip are the same at every call, and chips of several vendors may be active at
once: what a device takes is decided by the chip that its index stands for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qdeploy.backends.torch import runtime
from qdeploy.backends.torch.simulated import chips
from qdeploy.backends.torch.simulated.state import STATES, TYPE, State
from qdeploy.errors import InputError

if TYPE_CHECKING:
    import torch


def activate(name: str) -> tuple[torch.device, ...]:
    """Make the two devices of a chip usable in this process, and return them.

    It imports torch and, the first time, registers the device type `simulated` with it. That
    cannot be undone: `torch.accelerator` is the simulated one from then on.

    Args:
        name: a chip, as `cuda-sm80`, or a target, which stands for the first of its chips.

    Raises:
        InputError: there is no such chip.
        TargetUnavailable: torch is missing or too old, or the process has another vendor's
            extension loaded, which takes the one place there is for one.
        GenerationFailed: torch is broken.
    """
    chip = chips.find(name)
    torch = runtime.load()
    from qdeploy.backends.torch.simulated import kernels, registration

    registration.register()
    kernels.load(chip)
    return tuple(torch.device(TYPE, index) for index in chips.indices(chip))


def is_active() -> bool:
    """Whether the device type is registered in this process. Does not import torch."""
    registration = sys.modules.get("qdeploy.backends.torch.simulated.registration")
    return registration is not None and bool(registration.registered())


def state(device: torch.device | str) -> State:
    """Return what is known of a device: its chip, its counts of operators, its memory.

    Raises:
        InputError: it is no simulated device.
    """
    kind, _, index = str(device).partition(":")
    if kind != TYPE or not index.isdecimal() or int(index) >= len(STATES):
        raise InputError(
            f"{device} is no simulated device",
            fix=f"use one that activate returned, {TYPE}:0 to {TYPE}:{len(STATES) - 1}",
        )
    return STATES[int(index)]
