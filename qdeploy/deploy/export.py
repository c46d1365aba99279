"""Export: carry out a plan. The bundle appears whole or not at all.

Calibration comes first and keeps what it finds in the cache, from where an export that was
interrupted goes on.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from qdeploy import registry
from qdeploy.architectures.table import known_classes
from qdeploy.architectures.task import TaskName
from qdeploy.bundle import (
    MANIFEST,
    SCHEMA,
    Bundle,
    Manifest,
    ModelIdentity,
    contents,
    describe_files,
)
from qdeploy.calibration import cost
from qdeploy.calibration.record import CalibrationRecord
from qdeploy.checkpoint import hub, preflight
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.front_matter import CARD
from qdeploy.checkpoint.read import with_adapter, with_task
from qdeploy.checkpoint.recognition.model_names import locate
from qdeploy.deploy.alternative import find_alternative
from qdeploy.deploy.card import model_card
from qdeploy.deploy.work_key import tools, work_key
from qdeploy.errors import CheckpointError, ExportFailed, InputError, OutputError, PlanError
from qdeploy.interface import Exporter, Progress
from qdeploy.planning.calibration import choose
from qdeploy.planning.limit import limit_of
from qdeploy.planning.mixed import keep
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import default_profile, load_profile
from qdeploy.storage.atomic import ELSEWHERE, OutputKind, atomic_directory, check_output
from qdeploy.storage.json_file import read_json
from qdeploy.storage.listing import visible
from qdeploy.storage.sizes import size
from qdeploy.system.memory import available_bytes
from qdeploy.tokenization.bundle_text import write_text_files
from qdeploy.tokenization.text_files import CONFIG_FILE

BUNDLE = OutputKind(MANIFEST, contents)


def prepare(
    model: str | Checkpoint,
    target: str,
    *,
    profile_name: str | None = None,
    exporter_name: str | None = None,
    context: int | None = None,
    adapter: Path | None = None,
    backend_name: str | None = None,
    task: TaskName | None = None,
    requantize: bool = False,
    calibrate: bool | None = None,
    calibration: Path | None = None,
    calibration_tokens: int | None = None,
    calibration_seed: int | None = None,
    average_bits: float | None = None,
    fit: int | str | None = None,
) -> tuple[Plan, Exporter]:
    """Resolve names into a plan and an exporter that can carry it out.

    The default profile is one that the named backend runs, or else a backend that is installed and
    not slow on this machine. What asks for calibration, see `planning.calibration.choose`.
    A *model* given by name is read last, since a hub id means a download.

    Raises:
        InputError: an unknown name, parts that do not go together, or unreadable or wrong files.
    """
    if isinstance(model, str):
        locate(model)
    chosen_target = registry.target(target)
    runnable = registry.default_formats(chosen_target, backend_name)
    if profile_name is not None:
        profile = load_profile(profile_name)
    else:
        profile = default_profile(target, runnable)
    row = registry.format_of(profile)
    row.check(profile)
    if (limit := limit_of(average_bits, fit)) and calibrate is False:
        raise InputError(
            "--average-bits and --fit need calibration, and --no-calibrate forbids it",
            fix="leave out one of them",
        )
    chosen_calibration = choose(
        profile.calibration,
        calibrate=True if limit else calibrate,
        texts=calibration,
        tokens=calibration_tokens,
        seed=calibration_seed,
    )
    if exporter_name is not None:
        registry.exporter(exporter_name)  # an unknown name fails before a download
    if isinstance(model, str):
        checkpoint = hub.resolve(model, adapter=adapter, task=task)
    else:
        checkpoint = with_adapter(model, adapter) if adapter else model
        checkpoint = with_task(checkpoint, task) if task else checkpoint
    otherwise = partial(
        find_alternative,
        checkpoint,
        profile,
        chosen_target,
        context=context,
        exporter_name=exporter_name,
        requantize=requantize,
        calibration=chosen_calibration,
    )
    if exporter_name is None and not checkpoint.is_known:
        raise CheckpointError(
            f"unknown architecture {checkpoint.config.name}; known are "
            + ", ".join(known_classes()),
            where=checkpoint.folder / "config.json",
            fix=otherwise(),
        )
    plan = make_plan(
        checkpoint,
        profile,
        chosen_target,
        format_row=row,
        context=context,
        requantize=requantize,
        calibration=chosen_calibration,
    )
    plan = keep(replace(plan, limit=limit)) if limit else plan
    if checkpoint.is_here:
        _check_readable(plan)
    exporter = registry.exporter_for(plan.format, exporter_name)
    if refusal := exporter.refuses(plan):
        raise PlanError(
            f"exporter {exporter.name!r} cannot do this: {refusal.reason}",
            fix=refusal.fix or otherwise(),
        )
    preflight.check(checkpoint)
    return plan, exporter


def default_output(plan: Plan) -> Path:
    """Return the directory that a bundle is written to by default: `MODEL-PROFILE` here."""
    return Path(f"{plan.checkpoint.name.rsplit('/')[-1]}-{plan.profile.name}")


def _check_readable(plan: Plan) -> None:
    for file in plan.files().values():
        try:
            file.open("rb").close()
        except OSError as error:
            raise CheckpointError(
                f"cannot be read ({error.strerror})",
                where=file,
                fix="give your user permission to read it, e.g. with chmod or chown",
            ) from None


def export(
    plan: Plan, exporter: Exporter, destination: Path, progress: Progress, *, force: bool
) -> Bundle:
    """Carry out a plan. On an error *destination* keeps the content that it had.

    Raises:
        OutputError: *destination* exists and *force* is not given; it holds files that the export
            reads or that qdeploy did not write; or it cannot be written.
        TargetUnavailable: a library that the exporter needs is not installed.
        ExportFailed: calibration or the exporter could not finish.
    """
    _check_apart(plan, destination)
    check_output(destination, BUNDLE, force=force)  # before calibration, which may take hours
    plan, record = _calibrate(plan, progress)
    key = work_key(plan, exporter) if exporter.resumes else None
    staging = atomic_directory(destination, BUNDLE, force=force, key=key)
    with staging as folder, plan.identity:
        progress.begin(plan.bundle_bytes)
        try:
            exporter.export(plan, folder, progress)
        except MemoryError as error:
            raise _out_of_memory(plan, exporter.peak_memory_bytes(plan), error) from None
        _check_complete(plan, exporter, folder)
        progress.stage("checksums")
        write_text_files(plan.checkpoint.text_files, folder)
        _write_config(plan, exporter, folder / CONFIG_FILE)
        manifest = _manifest(plan, exporter, folder, record)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        (folder / CARD).write_text(model_card(plan, manifest), encoding="utf-8")
    return Bundle(destination, manifest)


def _calibrate(plan: Plan, progress: Progress) -> tuple[Plan, CalibrationRecord | None]:
    """Choose the precisions of a plan with a limit, and find the codes, if the cache has none."""
    if plan.calibration is None:
        return plan, None
    from qdeploy.calibration.bits import settled
    from qdeploy.calibration.run import calibrate

    try:
        plan = settled(plan, progress)
        return plan, calibrate(plan, progress)
    except MemoryError as error:
        needed = cost.predict(plan, timed=False).memory_bytes
        raise _out_of_memory(plan, needed, error) from None


def _out_of_memory(plan: Plan, needed: int, error: MemoryError) -> ExportFailed:
    free = available_bytes()
    there = f", and {size(free)} are free" if free is not None else ""
    return ExportFailed(
        f"out of memory ({error or 'MemoryError'}); this export takes about {size(needed)}{there}",
        where=plan.checkpoint.name,
        fix="close other programs, or export on a machine with more memory",
    )


def _write_config(plan: Plan, exporter: Exporter, file: Path) -> None:
    """Write what the adapter and the exporter change in `config.json` into the bundle's *file*."""
    adapter = plan.checkpoint.adapter
    changes = {**(adapter.changes if adapter else {}), **exporter.config_changes(plan)}
    if changes:
        kept = {k: v for k, v in read_json(file).items() if k not in changes}
        added = {k: v for k, v in changes.items() if v is not None}
        file.write_text(json.dumps({**kept, **added}, indent=2), encoding="utf-8")


def _check_apart(plan: Plan, destination: Path) -> None:
    """Check that the destination holds no file that the export reads.

    Raises:
        OutputError: it does, with the name of such a file.
    """
    real = Path(os.path.realpath(destination))
    for file in plan.files().values():
        if Path(os.path.realpath(file)).is_relative_to(real):
            raise OutputError(
                f"the output would replace {file}, which is exported",
                where=destination,
                fix=ELSEWHERE,
            )


def _check_complete(plan: Plan, exporter: Exporter, folder: Path) -> None:
    """Check that the exporter wrote every file that the format's row names.

    Raises:
        ExportFailed: with those that are missing.
    """
    if missing := plan.format_row.missing(visible(folder), plan.task):
        raise ExportFailed(
            f"exporter {exporter.name!r} wrote no {', '.join(missing)}, which every bundle of the "
            f"format {plan.format} has",
            fix="report it to the exporter's author, or choose another with --exporter",
        )


def _manifest(
    plan: Plan, exporter: Exporter, folder: Path, calibration: CalibrationRecord | None
) -> Manifest:
    checkpoint = plan.checkpoint
    return Manifest(
        schema_version=SCHEMA,
        model=ModelIdentity(
            name=checkpoint.name,
            architecture=checkpoint.config.name,
            parameters=checkpoint.parameters,
            experts=checkpoint.config.num_experts or 0,
            vocab_size=checkpoint.config.vocab_size,
            context_length=plan.context,
            digest=plan.digest,
        ),
        task=plan.task,
        target=plan.target.name,
        format=plan.format,
        exporter=exporter.name,
        profile=plan.profile,
        plan=plan.summary(),
        tools=tools(exporter, plan.format),
        calibration=calibration,
        files=describe_files(folder),
    )
