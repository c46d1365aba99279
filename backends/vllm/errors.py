"""Errors of this backend: what a server said when it did not start, and what it did instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qdeploy.engines.vllm.log import explain
from qdeploy.errors import PlacementError, QdeployError


def explained_by(log: Path) -> Callable[[Sequence[str]], QdeployError | None]:
    """What makes an error of the last lines of a server's log."""
    return lambda lines: explain(lines, log)


def elsewhere(said: str | None, wanted: str, log: Path) -> PlacementError:
    """The error for a server that says that it runs on another kind of device, or says nothing."""
    what = f"vLLM runs on {said}" if said else "vLLM does not say what it runs on"
    return PlacementError(
        f"{what}, and {wanted} was asked for",
        where=log,
        fix="install vLLM's build for the target: qdeploy engine install vllm --force",
    )
