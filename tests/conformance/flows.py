"""The matrix of the suite: every backend of the registry, on every target that it serves, with
every profile that fits, for both embedded models. No backend is named here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qdeploy import models, registry
from qdeploy.checkpoint import hub
from qdeploy.interface import Device, Exporter
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import (
    Profile,
    default_profile,
    load_profile,
    profile_names,
    profiles_of,
)

FLOAT_PROFILES = Path(__file__).parent / "profiles"
CONTEXT = 1056
"""Context of the exports, in tokens. Static shapes make every step cost as much as a whole context,
so it is small. It is a little over the NPU profiles' MAX_PROMPT_LEN, so that a prompt limit below
the context is tested too."""


def required(names: str) -> frozenset[str]:
    """Parse a comma-separated list of targets.

    Raises:
        InputError: an unknown target, which would require nothing.
    """
    return frozenset(registry.target(n.strip()).name for n in names.split(",") if n.strip())


REQUIRED = required(os.environ.get("QDEPLOY_REQUIRE", ""))
"""Targets whose absence is a failure, for runners that have the hardware."""


@dataclass(frozen=True)
class Flow:
    """One row of the matrix: a model, stored as a profile says, on a target of a backend.

    Attributes:
        profile: a shipped profile's name, or the path of a float one.
        simulate: runs on the target's simulated device.
    """

    model: str
    backend: str
    target: str
    profile: str
    simulate: bool = False

    @property
    def id(self) -> str:
        where = f"{self.target}~simulated" if self.simulate else self.target
        return f"{self.backend}-{where}-{Path(self.profile).stem}-{self.model}"

    @property
    def is_slow(self) -> bool:
        """Whether only cases marked `essential` run: see `Backend.slow`."""
        return self.simulate and self.target in registry.backend(self.backend).slow

    @property
    def is_variant(self) -> bool:
        """Whether another flow makes nearly the same calls, and each takes long or is simulated.

        So is a flow on a simulated device, whose arithmetic is not the device's, where another
        profile's weights have as many bits, or the dense model is tested in full; and a flow on
        a server that takes half a minute to start, except the dense model in floats. Only cases
        marked `essential` run.
        """
        if self.starts_slowly:
            return _is_moe(self.model) or not self.is_float
        if not self.simulate or self.is_float:
            return False
        own = self.load_profile()
        return _is_moe(self.model) or self.profile != _first(self.target, own.format, _bits(own))

    @property
    def is_alternative(self) -> bool:
        """Whether its format is not the target's own: such a bundle has the same codes."""
        own = default_profile(self.target).format
        return not self.is_float and self.load_profile().format != own

    @property
    def starts_slowly(self) -> bool:
        """Whether a load takes half a minute: see `Backend.starts_slowly`."""
        return registry.backend(self.backend).starts_slowly

    @property
    def is_cpu(self) -> bool:
        return registry.target(self.target).kind == "cpu"

    @property
    def is_float(self) -> bool:
        return self.load_profile().weights.linear.dtype == "fp16"

    def load_profile(self) -> Profile:
        return load_profile(self.profile)


@cache
def _is_moe(model: str) -> bool:
    return model in models.EMBEDDED and hub.resolve(model).config.is_moe


@cache
def _first(target: str, format: str, bits: int) -> str:
    """The first profile of a target with weights of so many bits, of integers rather than floats:
    FP8 is converted element by element where it is simulated.
    """
    fitting = [p for p in profiles_of(target) if (p.format, _bits(p)) == (format, bits)]
    return min(fitting, key=lambda p: p.weights.linear.dtype == "fp8").name


def _bits(profile: Profile) -> int:
    return profile.weights.linear.bits


@cache
def all_flows() -> tuple[Flow, ...]:
    """Return every combination of backend, target, profile and model that the backend accepts.

    Those on simulated devices come last.
    """
    names = [*profile_names(), *map(str, sorted(FLOAT_PROFILES.glob("*.toml")))]
    loaded = {name: load_profile(name) for name in names}
    flows = [
        Flow(model, backend.name, target.name, name, simulate)
        for simulate in (False, True)
        for backend in registry.backends().values()
        for target in backend.targets
        if not simulate or target.name in backend.simulates
        for name, p in loaded.items()
        if p.target == target.name and p.format in backend.formats
        if not (backend.starts_slowly and name not in profile_names())
        for model in models.EMBEDDED
    ]
    return tuple(f for f in flows if registry.backend(f.backend).why_not(plan_of(f)) is None)


def plan_of(flow: Flow) -> Plan:
    """Return the flow's plan, from the embedded checkpoint's config and headers."""
    target = registry.target(flow.target)
    profile = flow.load_profile()
    row = registry.format_of(profile)
    return make_plan(hub.resolve(flow.model), profile, target, format_row=row, context=CONTEXT)


def exporter_of(resolved: Plan) -> Exporter:
    """Return the first exporter of the registry that can carry out this plan."""
    able = (e for e in registry.exporters().values() if resolved.format in e.formats)
    return next(e for e in able if e.why_not(resolved) is None)


def device_of(flow: Flow) -> Device:
    """Return the flow's device on this machine.

    Raises:
        TargetUnavailable: it is absent.
    """
    target = registry.target(flow.target)
    return registry.backend(flow.backend).devices(target, simulate=flow.simulate)[0]
