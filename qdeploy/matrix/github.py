"""The job matrix of `.github/workflows/hardware-matrix.yml`, from the registry.

The workflow asks for it in its first job, so that a new target has its job without an edit there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import requires
from typing import Any

from qdeploy import registry
from qdeploy.interface import Backend
from qdeploy.targets import Target

HOSTED = "ubuntu-latest"
"""Where targets of the kind `cpu` run: any machine has one. All others need a runner of their own,
labelled with the target's name."""
SPECIAL = {
    ("onnxruntime", target): "onnx-openvino" for target in ("intel-cpu", "intel-gpu", "intel-npu")
}
"""Extras, by backend and target, that bring a part which the backend needs for that target alone.
One that is called like the target needs no line here."""
_REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(\[(?P<parts>[\w.,\s-]+)\])?.*;.*extra == [\"'](?P<extra>[^\"']+)[\"']"
)


def job_matrix(named: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return `{"include": [...]}` with a job for each target that is named, once.

    Where none is, for those of hosted runners: a job that no runner takes waits for a day, and the
    next run waits for it.

    Raises:
        InputError: there is no such target.
    """
    chosen = [registry.target(name) for name in dict.fromkeys(named)]
    targets = chosen or [target for target in registry.targets().values() if _hosted(target)]
    return {"include": [_job(target) for target in targets]}


def _hosted(target: Target) -> bool:
    return target.kind == "cpu"


def _job(target: Target) -> dict[str, Any]:
    hosted = _hosted(target)
    provided = provided_extras()
    extras = {extra_of(b, target, provided) for b in registry.backends_for(target)}
    return {
        "target": target.name,
        "runner": [HOSTED] if hosted else ["self-hosted", target.name],
        "self_hosted": not hosted,
        "extras": ",".join(sorted(filter(None, extras))),
    }


def extra_of(backend: Backend, target: Target, provided: Mapping[str, set[str]]) -> str | None:
    """Which of qdeploy's extras brings a backend for a target; None if none does.

    Of those that name a distribution of the backend's: the one that is called like the target, or
    is special to it, or else the smallest that is not called like another target.
    """
    wanted = {_normal(name) for name in backend.requires}
    bringing = [name for name, brought in provided.items() if wanted & brought]
    for name in (target.name, SPECIAL.get((backend.name, target.name))):
        if name in bringing:
            return name
    general = set(bringing) - registry.targets().keys()
    return min(general, key=lambda name: (len(provided[name]), name), default=None)


def provided_extras() -> dict[str, set[str]]:
    """Extras of the installed qdeploy, with the distributions that each brings."""
    named: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, requires("qdeploy") or [])):
        extra = match["extra"]
        named.setdefault(extra, set()).add(_normal(match["name"]))
        if _normal(match["name"]) == "qdeploy":
            parts.setdefault(extra, set()).update(re.split(r"[,\s]+", match["parts"] or ""))

    def brought(extra: str) -> set[str]:
        return named.get(extra, set()).union(*map(brought, parts.get(extra, ())))

    return {extra: brought(extra) for extra in named}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
