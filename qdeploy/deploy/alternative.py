"""Another way to export a model that an exporter refuses: only one that its exporter would take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from qdeploy import registry
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.errors import QdeployError
from qdeploy.interface import Exporter
from qdeploy.planning.calibrated import leave_out
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import Profile, profiles_of
from qdeploy.targets import Target


def find_alternative(
    checkpoint: Checkpoint,
    profile: Profile,
    target: Target,
    *,
    context: int | None,
    exporter_name: str | None,
    requantize: bool = False,
    calibration: Calibration | None = None,
) -> str:
    """Return what to change about an export that its exporter refuses.

    Another exporter of the same profile comes first, then other profiles of the target, then other
    targets; then all that without calibration. *exporter_name* is the one that was asked for by
    name.
    """
    for tried in dict.fromkeys((calibration, None)):
        found = _find(
            checkpoint, profile, target, context=context, requantize=requantize, calibration=tried
        )
        if found is None:
            continue
        exporter, other = found
        changes = _changes(exporter, other, profile, target)
        if tried == calibration and (changes or exporter_name is None):
            return f"{changes or f'--exporter {exporter.name}'} can"
        if tried == calibration:
            return "leave out --exporter"
        if other == profile and exporter.name == exporter_name:
            return leave_out(profile)
        return f"{leave_out(profile)}, and {changes or f'--exporter {exporter.name}'} can"
    return "no installed exporter takes this model; give another one"


def _find(
    checkpoint: Checkpoint,
    profile: Profile,
    target: Target,
    *,
    context: int | None,
    requantize: bool,
    calibration: Calibration | None,
) -> tuple[Exporter, Profile] | None:
    """The first exporter and profile that take the model, or None."""
    for other in _candidates(profile, target):
        aim = registry.target(other.target)
        plan = _plan(
            checkpoint, other, aim, context, requantize=requantize, calibration=calibration
        )
        for exporter in registry.exporters().values():
            if plan and plan.format in exporter.formats and not exporter.refuses(plan):
                return exporter, other
    return None


def _candidates(profile: Profile, target: Target) -> Iterator[Profile]:
    others = (name for name in registry.targets() if name != target.name)
    every = itertools.chain([target.name], others)
    shipped = itertools.chain.from_iterable(map(profiles_of, every))
    yield profile
    yield from (p for p in shipped if p != profile)


def _plan(
    checkpoint: Checkpoint,
    profile: Profile,
    target: Target,
    context: int | None,
    *,
    requantize: bool,
    calibration: Calibration | None,
) -> Plan | None:
    try:
        row = registry.format_of(profile)
        return make_plan(
            checkpoint,
            profile,
            target,
            format_row=row,
            context=context,
            requantize=requantize,
            calibration=calibration,
        )
    except QdeployError:
        return None


def _changes(exporter: Exporter, other: Profile, profile: Profile, target: Target) -> str:
    """The options that differ from those of the refused export."""
    default = registry.exporter_for(other.format)
    changes = {
        "--target": other.target != target.name and other.target,
        "--profile": other != profile and other.name,
        "--exporter": exporter.name != default.name and exporter.name,
    }
    return " ".join(f"{option} {value}" for option, value in changes.items() if value)
