"""The job matrix of `.github/workflows/hardware-matrix.yml`, from the registry.

The workflow asks for it in its first job, so that a new target has its job without an edit there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdeploy import registry
from qdeploy.targets import SELF_HOSTED, Target


def job_matrix(named: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return `{"include": [...]}` with a job for each target that is named, once.

    Where none is, for those of hosted runners: a job that no runner takes waits for a day, and the
    next run waits for it.

    Raises:
        InputError: there is no such target.
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
        "extras": ",".join(target.extras),
    }
