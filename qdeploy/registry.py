"""Backends, exporters, targets and bundle formats, found by name through entry points.

qdeploy's own backends and exporters are entry points like a third party's (see pyproject.toml),
so a plugin needs no change here. `qdeploy.plugins` loads them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from qdeploy.errors import InputError, PlanError, QdeployError, did_you_mean
from qdeploy.interface import Backend, Device, Exporter, Peer
from qdeploy.planning import formats as built_in
from qdeploy.planning.formats import Format
from qdeploy.planning.profile import Profile
from qdeploy.plugins import load_plugins
from qdeploy.system.energy import Meter
from qdeploy.targets import BUILT_IN, Target

BACKENDS = "qdeploy.backends"
EXPORTERS = "qdeploy.exporters"
FORMATS = "qdeploy.formats"


@cache
def backends() -> dict[str, Backend]:
    """Every installed backend by name, qdeploy's own first."""
    return load_plugins(BACKENDS, Backend)


@cache
def exporters() -> dict[str, Exporter]:
    """Every installed exporter by name, qdeploy's own first."""
    return load_plugins(EXPORTERS, Exporter)


@cache
def targets() -> dict[str, Target]:
    """Every target by name: the built-in rows, then those of backends."""
    found = {t.name: t for t in BUILT_IN}
    for backend in backends().values():
        for target in backend.targets:
            found.setdefault(target.name, target)
    return found


@cache
def formats() -> dict[str, Format]:
    """Every bundle format by name: the built-in rows, then those of installed plugins.

    Raises:
        QdeployError: a plugin takes the name of a built-in format.
    """
    own = {row.name: row for row in built_in.BUILT_IN}
    brought = load_plugins(FORMATS, Format)
    if taken := own.keys() & brought.keys():
        raise QdeployError(
            f"a {FORMATS} plugin takes the name of the built-in format {min(taken)!r}",
            fix="rename the format of the plugin, or uninstall it",
        )
    return own | brought


def peers() -> dict[str, Peer]:
    """Every library that runs bundles without qdeploy, by its distribution's name."""
    return {peer.distribution: peer for b in backends().values() for peer in b.peers}


def meters() -> dict[str, Callable[[Target, Device], Meter]]:
    """Every energy meter that a backend brings, by name."""
    return {name: meter for b in backends().values() for name, meter in b.meters.items()}


def format_of(profile: Profile) -> Format:
    """The row of the profile's bundle format.

    Raises:
        ProfileError: no such format is built in or brought by an installed plugin.
    """
    return built_in.format_of(profile, formats().values())


def target(name: str) -> Target:
    """The target of this name.

    Raises:
        InputError: there is none.
    """
    if name not in targets():
        raise InputError(f"unknown target {name!r}", fix=_meant_target(name))
    return targets()[name]


def _meant_target(name: str) -> str:
    """The fix for an unknown target: hardware in a person's words, e.g. `nvidia` or `gpu`."""
    word, rows = name.casefold(), targets().values()
    described = [t.name for t in rows if word == t.kind or word in t.title.casefold().split()]
    if not described or word in targets():
        return did_you_mean(name, targets())
    return f"choose one of: {', '.join(sorted(described))}"


def backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        InputError: none is installed.
    """
    if name not in backends():
        raise InputError(f"unknown backend {name!r}", fix=did_you_mean(name, backends()))
    return backends()[name]


def exporter(name: str) -> Exporter:
    """The exporter of this name.

    Raises:
        InputError: none is installed.
    """
    if name not in exporters():
        raise InputError(f"unknown exporter {name!r}", fix=did_you_mean(name, exporters()))
    return exporters()[name]


def backends_for(target: Target, *, format: str | None = None) -> list[Backend]:
    """Backends that serve *target*, and load the format of this name if one is given.

    Those that are `addressed` take any: the server has the weights.
    """
    return [
        b
        for b in backends().values()
        if target.name in {t.name for t in b.targets}
        and (format is None or b.addressed or format in b.formats)
    ]


def default_formats(target: Target, backend_name: str | None = None) -> frozenset[str]:
    """Bundle formats that *target* can run here, for its default profile: `is_default_for`.

    With *backend_name*, the formats of that backend, installed or not.

    Raises:
        InputError: there is no such backend, or it does not serve the target.
    """
    serving = backends_for(target)
    if backend_name is not None:
        chosen = backend(backend_name)
        if chosen not in serving:
            raise InputError(
                f"backend {backend_name!r} does not serve {target.name}",
                fix="choose one of: " + ", ".join(b.name for b in serving),
            )
        return frozenset(chosen.formats)
    return frozenset(f for b in serving if b.is_default_for(target) for f in b.formats)


def exporter_for(format: str, name: str | None = None) -> Exporter:
    """Return the named exporter, or else the default one of a bundle format.

    The default is the one that the format's row names, else the first installed.

    Raises:
        InputError: the name is unknown.
        PlanError: no installed exporter writes the format.
    """
    if name is not None:
        return exporter(name)
    able = {e.name: e for e in exporters().values() if format in e.formats}
    row = formats().get(format)
    if row is not None and row.exporter in able:
        return able[row.exporter]
    if able:
        return next(iter(able.values()))
    written = sorted({f for e in exporters().values() for f in e.formats})
    raise PlanError(
        f"no installed exporter writes the format {format!r}",
        fix=f"give a profile of a format that one writes: {', '.join(written) or 'there is none'}",
    )
