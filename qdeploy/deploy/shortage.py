"""Too little memory for a bundle: how much it needs, how much there is, and what helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.bundle import Bundle
from qdeploy.errors import OutOfMemory
from qdeploy.interface import Device
from qdeploy.storage.sizes import size
from qdeploy.system import info
from qdeploy.system.memory import LESS, available_bytes

SHARE = 0.9
"""Of the free memory, what weights and cache may take; the runtime and activations need more."""
LITTLE = 0.25
"""Of the free memory: what needs less than this has run out of something else, a limit."""
SHORTEST = 512
"""Tokens. A context below this is of no use, so it is not advised."""


@contextmanager
def telling_memory(bundle: Bundle, device: Device, context: int | None) -> Iterator[None]:
    """Add to an OutOfMemory what *bundle* needs on *device*, and a context that would fit.

    A backend that plans memory says so itself; its message is left alone.
    """
    try:
        yield
    except OutOfMemory as error:
        if error.fix not in (None, LESS):
            raise
        needs, fix = _compare(bundle, device, context or bundle.manifest.model.context_length)
        raise OutOfMemory(f"{error.what}{needs}", where=error.where, fix=fix) from error


def _compare(bundle: Bundle, device: Device, context: int) -> tuple[str, str]:
    planned = bundle.manifest.plan
    weights, token = planned.get("weight_bytes"), planned.get("kv_bytes_per_token")
    free = _free(device)
    if not (isinstance(weights, int) and isinstance(token, int) and token > 0 and free):
        return "", LESS
    needs = (
        f"; it needs {size(weights)} for weights and {size(token * context)} for a cache of "
        f"{context} tokens, and {size(free)} are free"
    )
    if weights + token * context < free * LITTLE:
        return needs, "raise the limit that this process has (ulimit -v), or close other programs"
    fits = int(free * SHARE - weights) // token
    if fits >= context:  # what the runtime needs besides is not known
        fits = context // 2
    if fits >= SHORTEST:
        return needs, f"--context {2 ** (fits.bit_length() - 1)}"
    return needs, "close other programs, or export a profile of fewer bits or a smaller model"


def _free(device: Device) -> int | None:
    """Free memory of a device in bytes; of a CPU and of what shares its memory, the machine's."""
    shared = (None, info.memory_bytes(), info.usable_memory_bytes())
    return available_bytes() if device.memory_bytes in shared else device.memory_bytes
