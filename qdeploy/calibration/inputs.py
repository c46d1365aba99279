"""`inputs`: the texts that layers are calibrated on, and how much their tokens count.

Neither depends on precisions, so calibrations of one model to several share them. They are kept in
the cache:

<cache>/calibrations/<model>-inputs-<16 hex digits>/
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qdeploy.calibration.folder import locked
from qdeploy.calibration.importance.weighting import Weighting
from qdeploy.calibration.report import Report
from qdeploy.calibration.store import VERSION
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan
from qdeploy.storage import cache_root
from qdeploy.storage.hashing import data_sha256
from qdeploy.system.threads import usable_threads

if TYPE_CHECKING:
    from qdeploy.calibration.texts.sequences import Sequences
    from qdeploy.checkpoint.weights import WeightReader


class Inputs(NamedTuple):
    """What layers are calibrated on."""

    sequences: Sequences
    weighting: Weighting


def inputs(plan: Plan, source: WeightReader, report: Report) -> Inputs:
    """Make the texts and weigh their tokens, or read what an earlier run made.

    Raises:
        CheckpointError: a weight is not finite.
        InputError: the user's texts cannot be used.
        ExportFailed: the cache cannot be written.
    """
    from threadpoolctl import threadpool_limits

    calibration = plan.calibration
    if calibration is None:
        raise ValueError("a plan without calibration")
    folder = folder_of(plan, calibration)
    with locked(folder, report), threadpool_limits(usable_threads(), user_api="blas"):
        sequences = _sequences(plan, calibration, source, folder, report)
        return Inputs(sequences, _weighting(plan, calibration, source, sequences, folder, report))


def folder_of(plan: Plan, calibration: Calibration) -> Path:
    """Where texts and importance of a plan are, by all that decides them."""
    task = plan.task.model_dump(mode="json")
    digest = data_sha256(plan.digest, calibration.deciding(), plan.rope_scaling, task, VERSION)
    name = f"{cache_root.plain(plan.checkpoint.name)}-inputs-{digest[:16]}"
    return cache_root.calibrations() / name


def counts_importance(plan: Plan) -> bool:
    """Whether tokens count by their importance for the model's predictions."""
    return plan.calibration is not None and plan.calibration.importance


def _sequences(
    plan: Plan, calibration: Calibration, source: WeightReader, folder: Path, report: Report
) -> Sequences:
    from qdeploy.calibration.texts.mix import default_sequences
    from qdeploy.tokenization.tokenizer import Tokenizer

    report.stage("writing text" if plan.task.generates else "reading text")
    found = default_sequences(
        source,
        plan.checkpoint.architecture,
        plan.checkpoint.graph(plan.rope_scaling),
        Tokenizer(plan.checkpoint.folder),
        folder=folder,
        progress=report.step,
        tokens=calibration.tokens,
        seed=calibration.seed,
        user=calibration.texts,
    )
    for warning in found.warnings:
        report.warn(warning)
    return found.sequences


def _weighting(
    plan: Plan,
    calibration: Calibration,
    source: WeightReader,
    sequences: Sequences,
    folder: Path,
    report: Report,
) -> Weighting:
    from qdeploy.calibration.importance.importance import token_importance

    if not counts_importance(plan):
        return Weighting()
    report.stage("weighing the tokens")
    found = token_importance(
        source,
        plan.checkpoint.architecture,
        plan.checkpoint.graph(plan.rope_scaling),
        sequences.ids,
        seed=calibration.seed,
        folder=folder,
        progress=report.step,
    )
    return Weighting(found.of, found.energy)
