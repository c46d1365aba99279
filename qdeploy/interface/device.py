"""A device, what a user may ask for when a bundle is loaded on it, and where the work ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdeploy.targets import Evidence

Property = str | int | float | bool
"""The value of a runtime setting, as a profile writes it."""


@dataclass(frozen=True)
class Device:
    """One piece of hardware that a backend found.

    Attributes:
        id: the runtime's own name for it, e.g. `CPU`, `GPU.1`, `cuda:0`.
        name: the product name. The name of a simulated device says that it is simulated.
        target: name of the target that it serves.
        memory_bytes: memory that a model can use there; None where the runtime does not report it.
        driver: driver version, if the runtime reports it.
        evidence: `device`, or `simulated` for a simulated device.
        architecture: what its kernels are built for, e.g. `sm_89`, `gfx942`, `Ascend910B3`; None
            where the runtime does not choose by it.
    """

    id: str
    name: str
    target: str
    memory_bytes: int | None = None
    driver: str | None = None
    evidence: Evidence = Evidence.DEVICE
    architecture: str | None = None


@dataclass(frozen=True)
class LoadOptions:
    """What a user may ask of a backend at load time.

    Attributes:
        context: most tokens, prompt and answer together, that the session must hold.
        properties: runtime settings that override the profile's.
        cache_dir: where compiled kernels and blobs may be kept; None keeps nothing.
        allow_fallback: heavy operators may run elsewhere; the placement then lists them.
        threads: CPU threads to compute with. None is one for each physical core that this process
            may use (`qdeploy.system.threads`).
        devices: all devices that the model is spread over, in order; the first is that of the load.
            Empty is that one alone. Only a backend that `splits` gets more.
        concurrency: requests that should be served at once. A backend that batches makes room for
            them; one that does not serves one at a time: see `Session.concurrency`.
    """

    context: int | None = None
    properties: Mapping[str, Property] = field(default_factory=dict)
    cache_dir: Path | None = None
    allow_fallback: bool = False
    threads: int | None = None
    devices: tuple[Device, ...] = ()
    concurrency: int = 1


@dataclass(frozen=True)
class Placement:
    """Where the work really ran, in the runtime's own words.

    Attributes:
        devices: the devices that the runtime says it executes on.
        evidence: `device`, or `simulated` with the simulated device named in `devices`.
        proof: the question put to the runtime, e.g. `EXECUTION_DEVICES of the compiled model`.
        nodes: number of graph nodes on each device, where the runtime reports it.
        fallback: heavy operators that run elsewhere than asked, by name. It is empty unless the
            user allowed a fallback.
        threads: CPU threads that the runtime computes with, where it computes on the CPU.
    """

    devices: tuple[str, ...]
    evidence: Evidence
    proof: str
    nodes: Mapping[str, int] | None = None
    fallback: tuple[str, ...] = ()
    threads: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for JSON and for results."""
        return {
            "devices": list(self.devices),
            "proof": self.proof,
            "nodes": dict(self.nodes) if self.nodes is not None else None,
            "fallback": list(self.fallback),
            "threads": self.threads,
        }
