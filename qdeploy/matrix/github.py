"""The job matrix of `.github/workflows/hardware-matrix.yml`, from the registry.

The first job of the workflow reads it, so a new target gets a job without a change to the workflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdeploy import registry
from qdeploy.targets import SELF_HOSTED, Target


def job_matrix(named: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return `{"include": [...]}` with one job for each named target.

    Without names, the jobs are those of hosted runners: a job without a runner waits for a day and
    blocks the next run of the workflow.

    Raises:
        InputError: a target is unknown.
    """
    chosen = [registry.target(name) for name in dict.fromkeys(named)]
    targets = chosen or [t for t in registry.targets().values() if not _self_hosted(t)]
    return {"include": [_job(target) for target in targets]}


def _self_hosted(target: Target) -> bool:
    return SELF_HOSTED in target.runs_on


def _job(target: Target) -> dict[str, Any]:
    return {
        "target": target.name,
        "runner": list(target.runs_on),
        "self_hosted": _self_hosted(target),
        "extras": ",".join(target.extras.values()),
        "torch_index": target.torch_index or "",
    }
