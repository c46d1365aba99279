"""Imports torch on demand, and sets up the process for a session."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qdeploy.errors import GenerationFailed, TargetUnavailable
from qdeploy.targets import CPU

if TYPE_CHECKING:
    from qdeploy.backends.torch.settings import Settings

INSTALL = f"pip install 'qdeploy[{CPU.extras['torch']}]'"
AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
"""Whether torch imports vendors' packages when it is imported itself. torch_npu without CANN makes
that import fail, so accelerators import their packages by name."""


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
    """Import and return `torch`.

    Raises:
        TargetUnavailable: it is not installed.
        GenerationFailed: it is installed but broken.
    """
    require()
    os.environ.setdefault(AUTOLOAD, "0")
    try:
        return import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        raise GenerationFailed(
            f"torch is installed but cannot be imported ({error})",
            fix=f"{INSTALL} --force-reinstall",
        ) from error


def prepare(settings: Settings) -> None:
    """Set the number of CPU threads, which torch keeps for the process."""
    load().set_num_threads(settings.threads)
