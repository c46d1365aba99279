"""transformers and its companions: whether they are here, and without their progress bars."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from qdeploy.errors import TargetUnavailable
from qdeploy.system import torch_extensions
from qdeploy.system.info import versions

FIX = "pip install 'qdeploy[verify]'"
DISTRIBUTIONS = ("transformers", "torch", "tokenizers", "peft", "compressed-tensors")
"""Libraries whose versions decide what the other side computes."""


def require(module: str) -> Any:
    """Import a library of the other side.

    Raises:
        TargetUnavailable: it is not installed, or its own imports fail.
    """
    try:
        with torch_extensions.not_loaded():
            return import_module(module)
    except Exception as error:  # a broken installation may raise anything
        raise TargetUnavailable(f"{module} cannot be imported ({error})", FIX) from None


def tools() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    return versions(DISTRIBUTIONS)


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Silence the logs and progress bars of transformers; yields the Python warnings instead."""
    reporter = require("transformers").utils.logging
    level, bars = reporter.get_verbosity(), reporter.is_progress_bar_enabled()
    reporter.set_verbosity(logging.CRITICAL)
    reporter.disable_progress_bar()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        reporter.set_verbosity(level)
        if bars:
            reporter.enable_progress_bar()


def reason(error: Exception) -> str:
    """First line of a library's message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
