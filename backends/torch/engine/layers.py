"""Which device each layer is on: planned from free memory, before any weight is read."""

from __future__ import annotations

import sys

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.settings import Settings
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.planning.device_memory import of_bundle
from qdeploy.planning.split import split
from qdeploy.system.memory import available_bytes

FLOAT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""By torch's name of the type of activations."""


def place_layers(checkpoint: Checkpoint, accelerator: Accelerator, settings: Settings) -> list[str]:
    """The device of every layer of the bundle *checkpoint*, as torch writes it.

    Raises:
        OutOfMemory: it does not fit, with what would.
        InputError: there are more devices than layers.
    """
    model = of_bundle(
        checkpoint,
        settings.rope_scaling,
        longest=settings.context,
        float_bytes=FLOAT_BYTES[settings.dtype],
        chunk=settings.prefill_chunk,
    )
    memories = [_free(accelerator, device) for device in settings.devices]
    parts = split(
        model,
        memories,
        settings.context,
        devices=settings.devices,
        several=not settings.on_host,
    )
    found: list[str] = []
    for device, part in zip(settings.devices, parts, strict=True):
        found += [device] * (part.last + 1 - part.first)
    return found


def _free(accelerator: Accelerator, device: str) -> int:
    """Bytes that can be allocated on a device."""
    memory = accelerator.memory(device)
    if memory is not None:
        return memory[0]
    return available_bytes() or sys.maxsize
