"""`export`: from a plan to a bundle that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from qdeploy import registry
from qdeploy.architectures.table import known_classes
from qdeploy.bundle import (
    MANIFEST,
    SCHEMA,
    Bundle,
    Manifest,
    ModelIdentity,
    contents,
    describe_files,
)
from qdeploy.checkpoint import hub, preflight
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.errors import CheckpointError, ExportFailed, OutputError, PlanError
from qdeploy.interface import Exporter, Progress
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import default_profile, load_profile
from qdeploy.storage.atomic import ELSEWHERE, OutputKind, atomic_directory
from qdeploy.storage.hashing import data_sha256
from qdeploy.storage.listing import visible
from qdeploy.system import info

BUNDLE = OutputKind(MANIFEST, contents)


def prepare(
    model: str | Checkpoint,
    target: str,
    *,
    profile_name: str | None = None,
    exporter_name: str | None = None,
    context: int | None = None,
    adapter: Path | None = None,
) -> tuple[Plan, Exporter]:
    """Resolve names into a plan and an exporter that can carry it out.

    A *model* given by name is read last: for a hub id that is a download.

    Raises:
        InputError: an unknown name, parts that do not go together, or files that do not hold.
    """
    if isinstance(model, str):
        hub.locate(model)
    wanted = registry.target(target)
    chosen = load_profile(profile_name) if profile_name is not None else default_profile(target)
    row = registry.format_of(chosen)
    row.check(chosen)
    named = registry.exporter(exporter_name) if exporter_name is not None else None
    checkpoint = hub.resolve(model) if isinstance(model, str) else model
    if named is None and not checkpoint.is_known:
        raise CheckpointError(
            f"unknown architecture {checkpoint.config.name}; known are "
            + ", ".join(known_classes()),
            where=checkpoint.folder / "config.json",
            fix="--exporter optimum can take many other architectures",
        )
    resolved = make_plan(
        checkpoint, chosen, wanted, format_row=row, context=context, adapter=adapter
    )
    if checkpoint.is_here:
        _check_readable(resolved)
    exporter = named or registry.exporter_for(resolved.format)
    if refusal := exporter.why_not(resolved):
        raise PlanError(
            f"exporter {exporter.name!r} cannot do this: {refusal.reason}", fix=refusal.fix
        )
    preflight.check(checkpoint, adapter=adapter)
    return resolved, exporter


def default_output(plan: Plan) -> Path:
    """Return the directory that a bundle is written to by default: `MODEL-PROFILE` here."""
    return Path(f"{plan.checkpoint.name.rsplit('/')[-1]}-{plan.profile.name}")


def _check_readable(resolved: Plan) -> None:
    for file in resolved.files().values():
        try:
            file.open("rb").close()
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})", where=file) from None


def export(
    resolved: Plan, exporter: Exporter, destination: Path, progress: Progress, *, force: bool
) -> Bundle:
    """Carry out a plan. *destination* afterwards holds the whole bundle, or what it held before.

    Raises:
        OutputError: *destination* exists and *force* is not given; it holds what the export reads,
            or what qdeploy did not write; or it cannot be written.
        TargetUnavailable: a library that the exporter needs is not installed.
        ExportFailed: the exporter could not finish.
    """
    _check_apart(resolved, destination)
    key = work_key(resolved, exporter) if exporter.resumes else None
    staging = atomic_directory(destination, BUNDLE, force=force, key=key)
    with staging as folder, resolved.identity:
        progress.begin(resolved.bundle_bytes)
        exporter.export(resolved, folder, progress)
        _check_complete(resolved, exporter, folder)
        progress.stage("checksums")
        for name in resolved.checkpoint.sidecars():
            shutil.copyfile(resolved.checkpoint.folder / name, folder / name)
        manifest = _manifest(resolved, exporter, folder)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle(destination, manifest)


def _check_apart(resolved: Plan, destination: Path) -> None:
    """Refuse a destination that the export would read from and then replace.

    Raises:
        OutputError: with a file of the model that lies in it.
    """
    real = Path(os.path.realpath(destination))
    for file in resolved.files().values():
        if Path(os.path.realpath(file)).is_relative_to(real):
            raise OutputError(
                f"the output would replace {file}, which is exported",
                where=destination,
                fix=ELSEWHERE,
            )


def _check_complete(resolved: Plan, exporter: Exporter, folder: Path) -> None:
    """Check that the exporter wrote every file that the format's row names.

    Raises:
        ExportFailed: with those that are missing.
    """
    if missing := resolved.format_row.missing(visible(folder)):
        raise ExportFailed(
            f"exporter {exporter.name!r} wrote no {', '.join(missing)}, which every bundle of the "
            f"format {resolved.format} has",
            fix="report it to the exporter's author, or choose another with --exporter",
        )


def work_key(resolved: Plan, exporter: Exporter) -> str:
    """Name an export by what decides its bytes: 16 hex digits.

    Of the weights only sizes and times of change count, which any write to a file alters: reading
    all of them before the first is exported would take minutes where the model is large.
    """
    files = []
    for _, file in sorted(resolved.files().items()):
        status = file.stat()
        place = str(file.resolve())
        files.append([place, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    profile = resolved.profile.model_dump_json()
    tools = _tools(exporter, resolved.format)
    return data_sha256(files, profile, resolved.context, exporter.name, tools)[:16]


def _tools(exporter: Exporter, format: str) -> dict[str, str]:
    """Versions by distribution. What is not installed, the exporter will miss and name."""
    return info.versions(("qdeploy", *exporter.requires(format)))


def _manifest(resolved: Plan, exporter: Exporter, folder: Path) -> Manifest:
    checkpoint = resolved.checkpoint
    return Manifest(
        schema_version=SCHEMA,
        model=ModelIdentity(
            name=checkpoint.name,
            architecture=checkpoint.config.name,
            parameters=checkpoint.parameters,
            experts=checkpoint.config.num_experts or 0,
            vocab_size=checkpoint.config.vocab_size,
            context_length=resolved.context,
            digest=resolved.digest,
        ),
        target=resolved.target.name,
        format=resolved.format,
        exporter=exporter.name,
        profile=resolved.profile,
        plan=resolved.summary(),
        tools=_tools(exporter, resolved.format),
        files=describe_files(folder),
    )
