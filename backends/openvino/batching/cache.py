"""How many blocks of key-value cache the pipeline gets at most.

It takes their memory as it fills them, and keeps it: blocks of requests that have ended hold
prefixes for later ones, until others need them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qdeploy.errors import InputError, OutOfMemory
from qdeploy.system.memory import LESS, available_bytes

if TYPE_CHECKING:
    from qdeploy.bundle import Manifest
    from qdeploy.interface import Device, Property

BLOCK_TOKENS = {"CPU": 32, "GPU": 16}
"""Tokens of a block, by the plugin."""
EACH_TOKENS = 1024
"""Tokens of cache for each request but one, which has a whole context. A request that needs more
takes what others leave; where nothing is left, the latest is put back and computed again later."""
SHARE = 0.8
"""Of the free memory, what weights and cache may take; the runtime and activations need more."""
GIB = 2**30


def cache_blocks(
    manifest: Manifest,
    device: Device,
    context: int,
    concurrency: int,
    asked: Mapping[str, Property],
) -> int | None:
    """Return how many blocks to ask for, or None where the user asked for a size.

    The cache holds a whole context at the least. So every request that the session takes fits into
    it by itself, and the pipeline, which puts others back for the oldest, can always go on.

    *asked* are the scheduler's options that the user or the profile set.

    Raises:
        InputError: the size asked for does not hold one context.
        OutOfMemory: the free memory does not.
    """
    block = BLOCK_TOKENS[device.id.partition(".")[0]]
    token = manifest.plan.get("kv_bytes_per_token")
    if tokens := _asked_tokens(asked, block, token):
        if tokens < context:
            raise InputError(
                f"the key-value cache asked for holds {tokens} tokens, and a context has {context}",
                where=device.id,
                fix=f"raise cache_size or num_kv_blocks, or give --context {tokens}",
            )
        return None
    tokens = context + (concurrency - 1) * min(context, EACH_TOKENS)
    if token and (free := _free(device)):
        fits = int(free * SHARE - manifest.plan["weight_bytes"]) // token
        if fits < context:
            what = f"out of memory: a key-value cache of {context} tokens does not fit"
            raise OutOfMemory(what, where=device.id, fix=LESS)
        tokens = min(tokens, fits)
    partly_filled = concurrency  # the last block of each request
    return math.ceil(tokens / block) + partly_filled


def _asked_tokens(asked: Mapping[str, Property], block: int, token: int | None) -> int | None:
    """Return the tokens of the cache that the user asked for; None if that is left to us."""
    if blocks := int(asked.get("num_kv_blocks", 0)):
        return blocks * block
    if size := int(asked.get("cache_size", 0)):
        return size * GIB // (token or 1)
    return None


def _free(device: Device) -> int | None:
    return available_bytes() if device.id == "CPU" else device.memory_bytes
