"""Another way to export a model that an exporter refuses: only one that its exporter would take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from qdeploy import registry
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.errors import QdeployError
from qdeploy.interface import Exporter
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
) -> str:
    """Return what to change about an export that its exporter refuses.

    Another exporter of the same profile comes first, then other profiles of the target, then other
    targets. *exporter_name* is the one that was asked for by name.
    """
    for other in _candidates(profile, target):
        aim = registry.target(other.target)
        plan = _plan(checkpoint, other, aim, context, requantize=requantize)
        for exporter in registry.exporters().values():
            if plan and plan.format in exporter.formats and not exporter.why_not(plan):
                changes = _changes(exporter, other, profile, target)
                if changes or exporter_name is None:
                    return f"{changes or f'--exporter {exporter.name}'} can"
                return "leave out --exporter"
    return "no installed exporter takes this model; give another one"


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
) -> Plan | None:
    try:
        row = registry.format_of(profile)
        return make_plan(
            checkpoint, profile, target, format_row=row, context=context, requantize=requantize
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
