"""What a load refuses before it begins: a model for another task, and weights without a kernel."""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy import registry
from qdeploy.architectures.task import TaskName
from qdeploy.bundle import Bundle
from qdeploy.errors import InputError, PlanError
from qdeploy.interface import Backend
from qdeploy.targets import Target

COMMANDS: Mapping[TaskName, str] = {
    "generate": "qdeploy run", "embed": "qdeploy embed", "rerank": "qdeploy rerank",
}  # fmt: skip
"""The command that runs a bundle, by its task."""


def check_task(bundle: Bundle, *wanted: TaskName) -> None:
    """Check that the bundle's model is for one of the tasks *wanted*.

    Raises:
        InputError: it is for another one.
    """
    task = bundle.manifest.task.name
    if task not in wanted:
        raise InputError(
            f"the model is to {task}, not to {' or '.join(wanted)}",
            where=bundle.path,
            fix=f"{COMMANDS[task]} {bundle.path}",
        )


def check_kernels(bundle: Bundle, backend: Backend, target: Target) -> None:
    """Check that the backend's runtime has kernels for a bundle's weights.

    Raises:
        PlanError: it has not; the fix names backends that have.
    """
    reason = backend.refuses(bundle, target)
    if reason is None:
        return
    able = [
        b.name
        for b in registry.backends_for(target, format=bundle.manifest.format)
        if not b.addressed and b.refuses(bundle, target) is None
    ]
    export = "export the model with another --profile"
    raise PlanError(
        f"{backend.name} cannot run this bundle on {target.name}: {reason}",
        where=bundle.path,
        fix=f"--backend {' or '.join(able)}, or {export}" if able else export,
    )
