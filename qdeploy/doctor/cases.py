"""What there is to try: every backend on every target that it serves, with both models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from qdeploy import models, profile, registry
from qdeploy.interface import Backend
from qdeploy.targets import Target


@dataclass(frozen=True)
class Case:
    """One thing to try.

    Attributes:
        backend: None where no installed backend serves the target.
        profile: name or path of the profile to export with; None where there is none.
        simulate: on the target's stand-in.
    """

    target: str
    backend: str | None
    model: str | None
    profile: str | None
    simulate: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Case:
        return cls(**json.loads(text))

    def __str__(self) -> str:
        where = f"{self.target} (simulated)" if self.simulate else self.target
        return " · ".join(filter(None, (where, self.backend, self.model)))


def cases(
    target: str | None = None, *, profile_name: str | None = None, simulate: bool = False
) -> list[Case]:
    """Every case, or those of one target; with *simulate*, stand-ins after the real ones.

    Raises:
        InputError: an unknown target or profile.
    """
    if profile_name:
        profile_name = str(Path(profile_name).resolve()) if "." in profile_name else profile_name
        profile.load(profile_name)
    chosen = [registry.target(target)] if target else list(registry.targets().values())
    found = [case for t in chosen for case in _on(t, profile_name)]
    if simulate:
        stand_ins = [(t, b) for t in chosen for b in _backends(t) if t.name in b.simulates]
        found += [c for t, b in stand_ins for c in _of(t, b, profile_name, simulate=True)]
    return found


def _on(target: Target, profile_name: str | None) -> list[Case]:
    serving = _backends(target)
    if not serving:
        return [Case(target.name, None, None, None)]
    return [case for backend in serving for case in _of(target, backend, profile_name)]


def _backends(target: Target) -> list[Backend]:
    return registry.backends_for(target)


def _of(
    target: Target, backend: Backend, profile_name: str | None, *, simulate: bool = False
) -> list[Case]:
    chosen = profile_name or profile_for(target, backend)
    if chosen is None:
        return [Case(target.name, backend.name, None, None, simulate)]
    return [Case(target.name, backend.name, m, chosen, simulate) for m in models.EMBEDDED]


def profile_for(target: Target, backend: Backend) -> str | None:
    """The first profile of *target* that *backend* loads: int4 before all others, or None."""
    fitting = [
        p.name
        for p in map(profile.load, profile.names())
        if p.target == target.name and p.format in backend.formats
    ]
    return min(fitting, key=lambda name: (not name.endswith("int4"), name), default=None)
