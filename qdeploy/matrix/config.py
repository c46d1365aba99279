"""The matrix file, and the cells that it defines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from qdeploy import registry
from qdeploy.checkpoint.recognition.model_names import locate
from qdeploy.errors import CheckpointError, InputError, ProfileError, did_you_mean
from qdeploy.planning.profile import Profile, load_profile, profile_names
from qdeploy.storage.toml_file import Strict, build_strict, parse_toml, read_shipped_toml
from qdeploy.targets import Target

SHIPPED = "matrix/matrix.toml"
NO_BACKEND = "no installed backend serves it"
NO_PROFILE = "it has no profile"
NO_SIMULATION = "no backend that loads its format simulates the target"


class Arguments(Strict):
    """Options for the steps, as their commands take them."""

    doctor: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    bench: tuple[str, ...] = ()
    eval: tuple[str, ...] = ()


class Config(Strict):
    """The content of the matrix file.

    Attributes:
        models: embedded models, directories of checkpoints, hub ids.
        targets: None means every target of the registry.
        profiles: names or TOML files; None means every profile of the targets.
        simulate: targets that run on their simulated device.
        timeout: deadline of one step in seconds.
    """

    schema_version: Literal[1] = Field(alias="schema")
    models: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    profiles: tuple[str, ...] | None = Field(default=None, min_length=1)
    simulate: tuple[str, ...] = ()
    timeout: float = Field(default=3600, gt=0)
    arguments: Arguments = Arguments()

    @field_validator("models", "targets", "profiles", "simulate")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is given twice")
        return names


@dataclass(frozen=True)
class Cell:
    """One combination of target, profile, model and backend.

    Attributes:
        profile: name or file; None if the target has no profile.
        backend: None if no installed backend serves the target and loads the format.
        absent: why the cell cannot run with what is installed; None if it may run.
    """

    target: Target
    model: str
    profile: str | None = None
    backend: str | None = None
    simulate: bool = False
    absent: str | None = None

    @property
    def scheme(self) -> str | None:
        """The profile's name, also if `profile` is a file."""
        return Path(self.profile).name.removesuffix(".toml") if self.profile else None


def load(file: Path | None = None) -> Config:
    """Read *file*, or the matrix that ships with qdeploy.

    Raises:
        InputError: the file cannot be read, or is invalid.
    """
    if file is None:
        return build_strict(Config, read_shipped_toml(SHIPPED), where=SHIPPED)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the matrix ({error})",
            where=file,
            fix="give a TOML file with --config, or leave it out for the matrix that ships",
        ) from None
    return build_strict(Config, parse_toml(text, where=file), where=file)


def cells(config: Config, only: Sequence[str] = (), *, where: object = None) -> list[Cell]:
    """Return the cells of the matrix, grouped by target; *only* selects targets.

    Raises:
        InputError: a name is unknown, or the matrix has no such target.
    """
    targets = _targets(config, where)
    for name in only:
        if registry.target(name) not in targets:
            known = did_you_mean(name, [t.name for t in targets])
            raise InputError(f"the matrix has no target {name!r}", where=where, fix=known)
    for model in config.models:
        try:
            locate(model)
        except CheckpointError as error:
            raise InputError(f"models: {error.what}", where=where, fix=error.fix) from None
    profiles = _profiles(config, targets, where)
    return [
        cell
        for target in targets
        if not only or target.name in only
        for cell in _of_target(config, target, profiles)
    ]


def _of_target(config: Config, target: Target, profiles: dict[str, Profile]) -> list[Cell]:
    simulate = target.name in config.simulate
    own = {name: read for name, read in profiles.items() if read.target == target.name}
    if not own and config.profiles:  # they leave this target out
        return []
    if not own:
        why = NO_PROFILE if registry.backends_for(target) else NO_BACKEND
        return [Cell(target, model, absent=why) for model in config.models]
    found: list[Cell] = []
    for name, read in own.items():
        serving = [
            b.name
            for b in registry.backends_for(target, format=read.format)
            if not simulate or target.name in b.simulates
        ]
        for model in config.models:
            found += [Cell(target, model, name, backend, simulate) for backend in serving]
            if not serving:
                why = NO_SIMULATION if simulate else NO_BACKEND
                found.append(Cell(target, model, name, simulate=simulate, absent=why))
    return found


def _targets(config: Config, where: object) -> list[Target]:
    try:
        named = config.targets or tuple(registry.targets())
        targets = [registry.target(name) for name in named]
        simulated = [registry.target(name) for name in config.simulate]
    except InputError as error:
        raise InputError(error.what, where=where, fix=error.fix) from None
    for target in simulated:
        if not any(target.name in b.simulates for b in registry.backends_for(target)):
            raise InputError(f"simulate: no backend simulates {target.name}", where=where)
        if target not in targets:
            raise InputError(
                f"simulate: the matrix has no target {target.name!r}",
                where=where,
                fix=f"add {target.name!r} to targets",
            )
    return targets


def _profiles(config: Config, targets: Sequence[Target], where: object) -> dict[str, Profile]:
    try:
        read = {name: load_profile(name) for name in config.profiles or profile_names()}
        for profile in read.values():
            registry.format_of(profile)
    except ProfileError as error:
        raise InputError(f"profiles: {error.what}", where=where, fix=error.fix) from None
    names = {target.name for target in targets}
    for name, found in read.items():
        if config.profiles and found.target not in names:
            raise InputError(
                f"profile {name!r} is for target {found.target!r}, which is not in the matrix",
                where=where,
                fix=f"add {found.target!r} to targets",
            )
    return read
