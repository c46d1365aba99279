"""What is served: the bundle, its profile's settings, and what the user asks of the load."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.engines.vllm.command import DTYPES, PLATFORMS, Served
from qdeploy.engines.vllm.nodes import size_flags
from qdeploy.engines.vllm.spread import PROPERTIES as SPREAD
from qdeploy.engines.vllm.spread import Spread, read_spread
from qdeploy.errors import InputError, did_you_mean
from qdeploy.interface import Device, LoadOptions, Property
from qdeploy.planning.parallel import Sizes
from qdeploy.planning.profile import FLOAT_BYTES
from qdeploy.targets import CPU, Evidence

if TYPE_CHECKING:
    from pathlib import Path

    from qdeploy.bundle import Bundle

PYTHON = "python"
"""Names the interpreter of vLLM's environment."""
CACHE = "kv_cache_memory_bytes"
OPTIONS: Mapping[str, type] = {
    "enforce_eager": bool,
    "enable_prefix_caching": bool,
    "enable_chunked_prefill": bool,
    "gpu_memory_utilization": float,
    "kv_cache_dtype": str,
    "max_num_batched_tokens": int,
}
"""Properties that are flags of `vllm serve`, spelled with underscores."""
PROPERTIES: Mapping[str, type] = {**OPTIONS, **SPREAD, CACHE: int, PYTHON: str}
LEAST_CACHE = 2**28
BLOCK = 128
"""Tokens of a block of the cache on a CPU."""


@dataclass(frozen=True)
class Settings:
    """Resolved settings of a load.

    Attributes:
        devices: those of the load, in order.
        python: the interpreter that the user names, or None.
        vocabulary: number of token ids.
        spread: the machines that it is spread over; None for this one alone.
    """

    served: Served
    devices: tuple[Device, ...]
    python: str | None
    vocabulary: int
    spread: Spread | None = None

    @property
    def mask(self) -> str | None:
        """The variable that shows vLLM its devices, with its value; None for a CPU."""
        mask = PLATFORMS[self.served.target].mask
        return f"{mask}={','.join(self.served.devices)}" if mask else None


def resolve_settings(bundle: Bundle, device: Device, options: LoadOptions) -> Settings:
    """Merge the profile's properties with the user's. `Served.model` is still the bundle's folder.

    Properties of the profile that are not vLLM's are for other runtimes of the same format.

    Raises:
        InputError: a property of the user's is unknown, or one is of a wrong type.
    """
    manifest = bundle.manifest
    for name in options.properties:
        if name not in PROPERTIES:
            raise InputError(
                f"the backend vllm has no property {name!r}", fix=did_you_mean(name, PROPERTIES)
            )
    profile = manifest.profile.runtime.properties
    own = {name: value for name, value in profile.items() if name in PROPERTIES}
    merged: dict[str, Property] = {**own, **options.properties}
    for name, value in merged.items():
        if type(value) is not PROPERTIES[name]:
            raise InputError(f"{name} is {value!r}", fix=f"give a {PROPERTIES[name].__name__}")
    devices = (device, *options.devices[1:])
    longest = manifest.model.context_length
    context = min(options.context or longest, longest)
    on_cpu = device.target == CPU.name
    cache = merged.get(CACHE)
    if cache is None and on_cpu:
        bytes_each = FLOAT_BYTES[manifest.profile.graph.activations]
        cache = cache_bytes(bundle.path, context, options.concurrency, bytes_each)
    served = Served(
        device.target,
        bundle.path,
        manifest.model.name,
        DTYPES[manifest.profile.graph.activations],
        context,
        options.concurrency,
        () if on_cpu else tuple(_number(each) for each in devices),
        None if cache is None else int(cache),
        _cpus(options.threads) if on_cpu else (),
        {name.replace("_", "-"): value for name, value in merged.items() if name in OPTIONS},
        tuple(size_flags(Sizes(tensor=len(devices)))),
    )
    python = merged.get(PYTHON)
    return Settings(
        served,
        devices,
        None if python is None else str(python),
        manifest.model.vocab_size,
        _spread(merged, device),
    )


def _spread(given: Mapping[str, Property], device: Device) -> Spread | None:
    """The machines that a load is spread over. Nodes of CPUs are simulated, on request only.

    Raises:
        InputError: they are asked for without that, or that without them.
    """
    spread = read_spread(given)
    simulated = device.evidence is Evidence.SIMULATED
    if simulated and spread is None:
        raise InputError(
            "vLLM simulates nodes on one machine, and this load has none",
            fix="--nodes 127.0.0.1,127.0.0.2, or leave --simulate out",
        )
    if spread and device.target == CPU.name and not simulated:
        raise InputError("nodes of CPUs are a simulation, on one machine", fix="--simulate")
    return spread


def cache_bytes(folder: Path, context: int, sequences: int, bytes_each: int) -> int:
    """Memory of a key-value cache that holds so many sequences, and one more for shared prefixes.

        2 * layers * kv heads * head size * bytes of an element * tokens in whole blocks

    Args:
        folder: a bundle, whose `config.json` is read.
        context: tokens of a sequence.
        sequences: how many.
        bytes_each: bytes of an element.
    """
    config: dict[str, int] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    each = 2 * config["num_hidden_layers"] * config.get("num_key_value_heads", heads) * size
    tokens = (-(-context // BLOCK) + 1) * BLOCK
    return max(LEAST_CACHE, each * bytes_each * tokens * (sequences + 1))


def _number(device: Device) -> str:
    """How the mask names a device: by its entry in a mask that is set already, or its number."""
    place = int(device.id.rpartition(":")[2])
    mask = PLATFORMS[device.target].mask
    listed = os.environ.get(mask or "", "")
    return listed.split(",")[place].strip() if listed else str(place)


def _cpus(threads: int | None) -> tuple[int, ...]:
    """The processors for so many threads; none where vLLM is to choose."""
    if threads is None or not hasattr(os, "sched_getaffinity"):
        return ()
    return tuple(sorted(os.sched_getaffinity(0))[:threads])
