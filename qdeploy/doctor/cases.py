"""The cases to test: every backend on every target that it serves, with both embedded models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from qdeploy import models, registry
from qdeploy.deploy.export import prepare
from qdeploy.errors import ProfileError
from qdeploy.interface import Backend
from qdeploy.planning.profile import load_profile, profiles_of
from qdeploy.targets import Target


@dataclass(frozen=True)
class Case:
    """One combination to test.

    Attributes:
        backend: None if no installed backend serves the target.
        profile: name or path of the profile for the export; None if there is none.
        simulate: run on the target's simulated device.
    """

    target: str
    backend: str | None
    model: str | None
    profile: str | None
    simulate: bool = False

    def __str__(self) -> str:
        where = f"{self.target} (simulated)" if self.simulate else self.target
        return " · ".join(filter(None, (where, self.backend, self.model)))


def cases(
    target: str | None = None, *, profile_name: str | None = None, simulate: bool = False
) -> list[Case]:
    """Return all cases, or those of one target; with *simulate*, also simulated ones, last.

    Raises:
        InputError: the target or the profile is unknown, or the profile is for another target.
    """
    chosen = [registry.target(target)] if target else list(registry.targets().values())
    given = _given(profile_name, chosen) if profile_name else None
    found = [case for t in chosen for case in _on(t, given)]
    if simulate:
        simulated = [(t, b) for t in chosen for b in _backends(t, given) if t.name in b.simulates]
        found += [c for t, b in simulated for c in _of(t, b, given, simulate=True)]
    return found


@dataclass(frozen=True)
class _Given:
    """The profile that the user gave: its name or path, and its format."""

    name: str
    format: str


def _given(name: str, targets: Sequence[Target]) -> _Given:
    """Check that the profile can be exported for all targets; raises as `cases`."""
    name = str(Path(name).resolve()) if "." in name else name
    read = load_profile(name)
    for target, model in product(targets, models.EMBEDDED):
        if read.target != target.name:
            raise ProfileError(
                f"profile {read.name!r} is for target {read.target!r}, not {target.name!r}",
                fix=f"qdeploy doctor {read.target}, or a profile of {target.name!r}",
            )
        prepare(model, target.name, profile_name=name)
    return _Given(name, read.format)


def _on(target: Target, given: _Given | None) -> list[Case]:
    serving = _backends(target, given)
    if not serving:
        return [Case(target.name, None, None, None)]
    return [case for backend in serving for case in _of(target, backend, given)]


def _backends(target: Target, given: _Given | None) -> list[Backend]:
    return registry.backends_for(target, format=given.format if given else None)


def _of(
    target: Target, backend: Backend, given: _Given | None, *, simulate: bool = False
) -> list[Case]:
    chosen = given.name if given else profile_for(target, backend)
    if chosen is None:
        return [Case(target.name, backend.name, None, None, simulate)]
    return [Case(target.name, backend.name, m, chosen, simulate) for m in models.EMBEDDED]


def profile_for(target: Target, backend: Backend) -> str | None:
    """Return the first profile of *target* that *backend* loads, int4 first; None without one."""
    fitting = (p.name for p in profiles_of(target.name) if p.format in backend.formats)
    return next(fitting, None)
