"""`settled`: the plan with the precisions that lose the least within its limit, by measurement.

The losses are kept in the cache, beside the texts and the importance of their tokens, which the
calibration of the chosen weights reads there, too.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.calibration.folder import locked
from qdeploy.calibration.inputs import folder_of, inputs
from qdeploy.calibration.report import Report
from qdeploy.planning import mixed
from qdeploy.planning.plan import Plan
from qdeploy.quantization.precision import Precision
from qdeploy.storage.atomic import write_file
from qdeploy.storage.hashing import data_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = 1
"""Version of the losses, part of the file's name: raise it when they change."""


def settled(plan: Plan, report: Report) -> Plan:
    """Choose the precisions of a plan with a limit; any other plan as it is.

    Raises:
        PlanError: no choice keeps the limit.
        CheckpointError: weights or activations are not finite.
        InputError: the texts cannot be used.
        ExportFailed: the cache cannot be written, or the disk is full.
    """
    if plan.limit is None:
        return plan
    candidates = {name: unit.candidates for unit in mixed.units(plan) for name in unit.names}
    losses = _losses(plan, candidates, report)
    return mixed.keep(plan, lambda name, precision: losses[_key(name, precision)])


def _losses(
    plan: Plan, candidates: Mapping[str, Sequence[Precision]], report: Report
) -> dict[str, float]:
    if plan.calibration is None:
        raise ValueError("a plan without calibration")
    names = {name: list(map(str, found)) for name, found in candidates.items()}
    folder = folder_of(plan, plan.calibration)
    file = folder / f"losses-{data_sha256(names, VERSION)[:16]}.json"
    if known := _load(file):
        return known
    losses = _measured(plan, candidates, report)
    with locked(folder, report):
        write_file(file, json.dumps(losses).encode())
    return losses


def _measured(
    plan: Plan, candidates: Mapping[str, Sequence[Precision]], report: Report
) -> dict[str, float]:

    from threadpoolctl import threadpool_limits

    from qdeploy.calibration.sensitivity import sensitivities
    from qdeploy.checkpoint.weights import check_weights, open_weights

    check_weights(plan.checkpoint)
    with open_weights(plan.checkpoint) as source:
        given = inputs(plan, source, report)
        report.stage("measuring what each weight loses in fewer bits")
        with threadpool_limits(1, user_api="blas"):  # the work is split over threads as it is
            found = sensitivities(
                source,
                plan.checkpoint.architecture,
                plan.checkpoint.graph(plan.rope_scaling),
                given.sequences.ids,
                candidates,
                energy=given.weighting.energy,
                weights=given.weighting.of,
                progress=report.step,
            )
    return {_key(name, precision): loss for (name, precision), loss in found.items()}


def _key(name: str, precision: Precision) -> str:
    return f"{name} {precision}"


def _load(file: Path) -> dict[str, float] | None:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_bytes())
        if isinstance(found, dict):
            return found
    return None
