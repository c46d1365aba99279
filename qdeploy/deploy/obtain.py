"""The bundle that a user means: on disk, on the hub, or exported from a model into the cache."""

from __future__ import annotations

import os
from pathlib import Path

from qdeploy import registry
from qdeploy.bundle import Bundle, is_bundle, open_bundle
from qdeploy.checkpoint.hub_cache import hub_id_of, main_snapshot
from qdeploy.checkpoint.published.catalogue import find_published
from qdeploy.checkpoint.recognition.model_names import locate
from qdeploy.checkpoint.recognition.not_a_bundle import why_not_a_bundle
from qdeploy.deploy import cache, hub_bundle, run
from qdeploy.deploy.export import export, prepare
from qdeploy.errors import (
    BundleError,
    CheckFailed,
    ExportFailed,
    InputError,
    OutputError,
    TargetUnavailable,
)
from qdeploy.interface import Exporter, Progress
from qdeploy.planning.plan import Plan
from qdeploy.storage.atomic import ELSEWHERE
from qdeploy.targets import Target


def find_bundle(
    model: str,
    target: str | None,
    progress: Progress,
    *,
    backend: str | None = None,
    device: run.Which = 0,
    simulate: bool = False,
) -> tuple[Bundle, bool]:
    """Open the bundle at path *model* or of that hub id, or export the model into the cache.

    Returns:
        The bundle, and whether this call exported it.

    Raises:
        InputError: neither a bundle nor a model, or a model without a target.
        HubError: the hub could not be reached.
        TargetUnavailable: the target is absent. Raised before the export.
    """
    path = Path(os.path.expanduser(model))
    if hub_id_of(path.name):  # of a model's folder in the hub's cache, the snapshot
        path = main_snapshot(path) or path
    if is_bundle(path):
        return open_bundle(path), False
    name, folder = locate(model)
    if folder is None and not find_published(name):
        downloaded = hub_bundle.download(name, must_know=target is None)
        if downloaded:
            return open_bundle(downloaded), False
    if target is None and folder and not (folder / "config.json").is_file():
        raise why_not_a_bundle(path)
    if target is None:
        raise InputError(
            f"{model} is a model, not a bundle, so the target must be named",
            fix="add --target, e.g. --target cpu",
        )
    plan, exporter = prepare(model, target, backend_name=backend)
    try:
        run.find_device(plan.target, plan.format, backend=backend, device=device, simulate=simulate)
    except TargetUnavailable as error:
        raise _telling_of_slow_ones(error, plan.target, backend) from None
    cached = cache.bundle_path(plan, exporter.name)
    if not os.path.lexists(cached):
        return _export_into_cache(plan, exporter, cached, progress), True
    try:
        return open_bundle(cached), False
    except (BundleError, CheckFailed) as error:
        fix = f"qdeploy cache clear {cached.name}"
        raise type(error)(error.what, where=error.where, fix=fix) from None


def _telling_of_slow_ones(
    error: TargetUnavailable, target: Target, backend: str | None
) -> TargetUnavailable:
    """Add installed backends that the default passes over, where nothing else was found."""
    installed = [b for b in registry.backends_for(target) if b.is_installed()]
    names = [b.name for b in installed if not b.is_default_for(target)]
    if backend is not None or not names:
        return error
    fix = f"{error.fix} / --backend {names[0]}, which is here, and slower on such a machine"
    return TargetUnavailable(error.reason, fix, where=error.where)


def _export_into_cache(plan: Plan, exporter: Exporter, cached: Path, progress: Progress) -> Bundle:
    """Export to a place that the user did not choose, so what helps is another cache."""
    try:
        return export(plan, exporter, cached, progress, force=True)
    except (OutputError, ExportFailed) as error:
        elsewhere = f"set {cache.ENVIRONMENT} to a folder that has room and can be written"
        fix = error.fix and error.fix.replace(ELSEWHERE, elsewhere)
        raise type(error)(error.what, where=error.where, fix=fix) from None
