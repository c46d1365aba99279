"""Which layers of a model go to which device, and what would fit where they do not.

Layers that follow one another share a device. They are placed so that the fullest device, in parts
of its memory, is as little full as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qdeploy.errors import InputError, OutOfMemory
from qdeploy.planning.device_memory import DeviceMemory, Model
from qdeploy.quantization.precision import Precision
from qdeploy.storage.sizes import size

USABLE = 0.95
"""The part of free memory that is planned for: allocators round up, and kernels have buffers."""
CONTEXT_STEP = 256
"""Contexts are advised in multiples of this."""
FEWEST_BITS = Precision(dtype="int4", symmetric=True, group_size=128)
"""The smallest weights that profiles have."""
HALVINGS = 30


def split(
    model: Model,
    memories: Sequence[int],
    context: int,
    *,
    devices: Sequence[str],
    several: bool = True,
) -> tuple[DeviceMemory, ...]:
    """Place all layers.

    Args:
        model: what is placed.
        memories: free bytes of each device.
        context: tokens of the longest sequence.
        devices: names of the devices, for messages.
        several: whether more devices could be used.

    Raises:
        InputError: there are more devices than layers.
        OutOfMemory: it does not fit; the fix is what would.
    """
    check_count(model, len(memories))
    placed = balanced(model, memories, context)
    shares = [part.needed / max(memory, 1) for part, memory in zip(placed, memories, strict=True)]
    worst = max(range(len(placed)), key=shares.__getitem__)
    if shares[worst] <= USABLE:
        return placed
    part = placed[worst]
    layers = "" if len(placed) == 1 else f"layers {part.first} to {part.last} of "
    raise OutOfMemory(
        f"{layers}{model.name} need{'' if layers else 's'} {size(part.needed)} "
        f"for a context of {context} tokens (weights {size(part.weights)}, "
        f"cache {size(part.cache)}, a pass {size(part.workspace + part.tables)}); "
        f"{size(memories[worst])} are free, of which {USABLE:.0%} can be planned for",
        where=devices[worst],
        fix=what_fits(model, memories, context, several=several),
    )


def check_count(model: Model, count: int) -> None:
    """Check that every one of *count* devices gets a layer.

    Raises:
        InputError: there are more devices than layers.
    """
    if count > model.layers:
        raise InputError(
            f"{count} devices for the {model.layers} layers of {model.name}",
            fix=f"give {model.layers} devices or fewer",
        )


def balanced(model: Model, memories: Sequence[int], context: int) -> tuple[DeviceMemory, ...]:
    """Place all layers as evenly as memories allow, whether they fit or not.

    There are at least as many layers as devices.
    """
    low, high = 0.0, 1.0
    while _filled(model, memories, context, high) is None:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _filled(model, memories, context, middle) else (middle, high)
    placed = _filled(model, memories, context, high)
    assert placed is not None  # noqa: S101
    return placed


def longest_context(model: Model, memories: Sequence[int]) -> int:
    """The longest context that fits, in tokens, at most the model's positions; 0 for none."""
    low, high = 0, model.longest + 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = _filled(model, memories, middle, USABLE) is not None
        low, high = (middle, high) if fits else (low, middle)
    return low


def fewest_devices(model: Model, memory: int, context: int) -> int | None:
    """How many devices with this many free bytes hold the model; None if no number does."""
    counts = range(1, model.layers + 1)
    fitting = (n for n in counts if _filled(model, [memory] * n, context, USABLE) is not None)
    return next(fitting, None)


def what_fits(model: Model, memories: Sequence[int], context: int, *, several: bool = True) -> str:
    """What a user can do about a model that does not fit, as a fix."""
    found = []
    longest = longest_context(model, memories) // CONTEXT_STEP * CONTEXT_STEP
    if longest:
        found.append(f"--context {min(longest, context)} or less")
    count = fewest_devices(model, min(memories), context) if several else None
    if count and count > len(memories):
        found.append(f"{count} devices of this size, by --devices")
    smaller = _with_fewest_bits(model)
    if smaller and _filled(smaller, memories, context, USABLE) is not None:
        found.append("a profile of fewer bits")
    return ", or ".join(found) or "a device with more memory, or a smaller model"


def _with_fewest_bits(model: Model) -> Model | None:
    """The model as profiles of the fewest bits store it; None if it has no more of them."""
    if model.bits <= FEWEST_BITS.bits:
        return None
    weights = {
        name: held._replace(precision=FEWEST_BITS) if held.role == "linear" else held
        for name, held in model.weights.items()
    }
    return replace(model, weights=weights)


def _filled(
    model: Model, memories: Sequence[int], context: int, part: float
) -> tuple[DeviceMemory, ...] | None:
    """Fill one device after the other up to *part* of its memory; None if layers are left over.

    No device is left without a layer.
    """
    placed: list[DeviceMemory] = []
    start = 0
    for memory, others in zip(memories, reversed(range(len(memories))), strict=True):
        room = part * max(memory, 1)
        ends = range(start + 1, model.layers - others + 1)
        if not others:
            ends = ends[-1:]
        found = None
        for end in ends:
            tried = model.memory(range(start, end), context)
            if tried.needed > room:
                break
            found = tried
        if found is None:
            return None
        placed.append(found)
        start = found.last + 1
    return tuple(placed)
