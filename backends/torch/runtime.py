"""Imports torch and torch_npu on demand, and sets CPU threads for a session's work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from qdeploy.errors import GenerationFailed, TargetUnavailable
from qdeploy.system import torch_extensions
from qdeploy.targets import CPU

INSTALL = f"pip install 'qdeploy[{CPU.extras['torch']}]'"
BEFORE = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Environment variables that CUDA reads once. By default it numbers GPUs by speed, and `nvidia-smi`
by PCI bus."""


def is_installed() -> bool:
    """Return whether torch is installed. Imports nothing."""
    return find_spec("torch") is not None


def require() -> None:
    """Check that torch is installed, without importing it.

    Raises:
        TargetUnavailable: it is not.
    """
    if not is_installed():
        raise TargetUnavailable("torch is not installed", INSTALL)


def load() -> Any:
    """Import and return `torch`, without the extensions that it would load by itself.

    Raises:
        TargetUnavailable: it is not installed.
        GenerationFailed: it is installed but broken.
    """
    require()
    for name, value in BEFORE.items():
        os.environ.setdefault(name, value)
    try:
        with torch_extensions.not_loaded():
            return import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        raise GenerationFailed(
            f"torch is installed but cannot be imported ({error})",
            fix=f"{INSTALL} --force-reinstall",
        ) from error


def load_npu() -> Any:
    """Import and return `torch_npu`, which gives torch the device type `npu`.

    Raises:
        TargetUnavailable: torch is not installed, or torch_npu does not load, as without CANN; the
            cause is then the error itself.
    """
    load()
    try:
        return import_module("torch_npu")
    except Exception as error:  # libraries of CANN's raise errors of several kinds
        raise TargetUnavailable(
            f"torch_npu cannot be imported ({error})", "`qdeploy targets` says why"
        ) from error


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute with so many CPU threads, and leave torch's number of them as it was.

    Torch has one number, which other sessions and the caller's own work compute with, too.
    """
    torch = load()
    before: int = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
