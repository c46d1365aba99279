"""Asks torch for a platform's devices, in a worker process: drivers crash and hang there.

The worker tells facts, and `diagnosis` explains them. It imports the installed torch, so this
process never loads a vendor's driver to find out that there is none.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qdeploy.backends.torch import runtime
from qdeploy.errors import QdeployError, TargetUnavailable
from qdeploy.system.parent import Parent
from qdeploy.system.worker import run_worker

SECONDS = 120.0
"""A first contact with a driver may take tens of seconds on a machine with many devices."""


@dataclass(frozen=True)
class Found:
    """A device as torch describes it.

    Attributes:
        number: torch's number of it.
        architecture: `sm_89`, `gfx942` or `Ascend910B3`.
    """

    number: int
    name: str
    memory_bytes: int
    architecture: str


@dataclass(frozen=True)
class Facts:
    """What torch says of a platform's devices.

    Attributes:
        found: the devices, in torch's order.
        kernels: architectures that this build has kernels for; empty if it does not tell.
        failed: the module that could not be imported, or None.
        said: the message of what failed, and torch's warnings; empty if there was none.
    """

    found: tuple[Found, ...] = ()
    kernels: tuple[str, ...] = ()
    failed: str | None = None
    said: str = ""


def probe(device_type: str) -> Facts:
    """Ask torch for the devices of a type, `cuda` or `npu`, in a worker.

    It takes seconds, so it is asked once: a command that exports a model asks before and after.

    Raises:
        WorkerFailed: the worker crashed or hung.
    """
    return _asked(device_type, tuple(sys.path), tuple(sorted(os.environ.items())))


@lru_cache(maxsize=4)
def _asked(device_type: str, *_inherited: object) -> Facts:
    """The answer of a worker; what it inherits from this process decides it, masks for example."""
    told: Mapping[str, Any] = run_worker(work, device_type, seconds=SECONDS)
    found = tuple(Found(**device) for device in told["found"])
    return Facts(found, tuple(told["kernels"]), told["failed"], told["said"])


def work(device_type: str, parent: Parent) -> dict[str, Any]:
    """The worker's end: the fields of `Facts` as plain data."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told = {"found": [], "kernels": [], "failed": None, "said": ""} | _ASK[device_type]()
    # others than torch's own say nothing of a device
    warned = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    said = [told["said"], *warned]
    return told | {"said": " ".join(" ".join(said).split())}


def _cuda() -> dict[str, Any]:
    """NVIDIA's, AMD's and Hygon's devices, which all answer as `cuda`."""
    try:
        torch = runtime.load()
    except QdeployError as error:
        return {"failed": "torch", "said": error.what}
    kernels = list(torch.cuda.get_arch_list())
    try:
        torch.cuda.init()  # which raises with the reason, where is_available() gives False
        found = [_gpu(torch, number) for number in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError) as error:
        return {"kernels": kernels, "said": str(error)}
    return {"found": found, "kernels": kernels}


def _gpu(torch: Any, number: int) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(number)
    hip = getattr(about, "gcnArchName", "") if torch.version.hip else ""
    return {
        "number": number,
        "name": str(about.name),
        "memory_bytes": int(about.total_memory),
        # gfx942:sramecc+:xnack- has the features that are on behind the name
        "architecture": hip.partition(":")[0] or f"sm_{about.major}{about.minor}",
    }


def _npu() -> dict[str, Any]:
    """Huawei's devices."""
    try:
        runtime.load()
    except QdeployError as error:
        return {"failed": "torch", "said": error.what}
    try:
        npu = runtime.load_npu().npu
    except TargetUnavailable as error:
        return {"failed": "torch_npu", "said": str(error.__cause__)}
    try:
        found = [_chip(npu, number) for number in range(npu.device_count())]
    except (RuntimeError, AssertionError) as error:
        return {"said": str(error)}
    return {"found": found}


def _chip(npu: Any, number: int) -> dict[str, Any]:
    about = npu.get_device_properties(number)
    return {
        "number": number,
        "name": str(about.name),
        "memory_bytes": int(about.total_memory),
        "architecture": str(about.name),
    }


_ASK = {"cuda": _cuda, "npu": _npu}
