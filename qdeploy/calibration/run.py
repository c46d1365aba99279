"""`calibrate`: finds the codes of a plan's calibrated weights, or those that an earlier run found.

What a run did last stays on the disk: the texts, the importance of their tokens, and after each
step of the model the codes and the residual streams. A run that is killed therefore goes on where
it was, and finds the same codes as one that is not.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from qdeploy.calibration.folder import DISK, locked
from qdeploy.calibration.inputs import counts_importance, inputs
from qdeploy.calibration.record import CalibrationRecord, Text
from qdeploy.calibration.report import Report
from qdeploy.calibration.smoothing.planned import is_static
from qdeploy.calibration.store import CODES, LOCK, RECORD, CodeStore, store_of
from qdeploy.errors import ExportFailed
from qdeploy.planning.plan import Plan
from qdeploy.storage.atomic import write_file
from qdeploy.storage.sizes import size

METHOD = "error feedback, scales refitted, drift corrected"
ROOM = 1.1
"""Disk that has to be free, in sizes of what is predicted."""


def calibrate(plan: Plan, report: Report) -> CalibrationRecord:
    """Find the codes, and tell what was done.

    Raises:
        CheckpointError: weights or activations are not finite.
        InputError: the texts cannot be used.
        ExportFailed: the disk has no room, or it is full.
    """
    store = store_of(plan)
    with locked(store.folder, report):
        if (record := _read_record(store.folder)) is None:
            record = _run(plan, store, report)
            write_file(store.folder / RECORD, record.model_dump_json(indent=1).encode())
        _tidy(store.folder)  # an earlier run may have been killed before it did
    return record


def _read_record(folder: Path) -> CalibrationRecord | None:
    """What was done, once all of it is finished; None before."""
    try:
        content = (folder / RECORD).read_bytes()
    except FileNotFoundError:
        return None
    return CalibrationRecord.model_validate_json(content)


def _run(plan: Plan, store: CodeStore, report: Report) -> CalibrationRecord:
    from threadpoolctl import threadpool_limits

    from qdeploy.calibration.arrays import Arrays
    from qdeploy.calibration.layers.builder import CalibratingBuilder
    from qdeploy.calibration.layers.rounded_inputs import RoundedInputs
    from qdeploy.calibration.layers.streams import Streams
    from qdeploy.calibration.layers.weights import Weights
    from qdeploy.checkpoint.weights import check_weights, open_weights

    if plan.calibration is None:
        raise ValueError("a plan without calibration")
    check_weights(plan.checkpoint)
    _check_disk(plan, store.folder)
    architecture, config = plan.checkpoint.architecture, plan.checkpoint.graph(plan.rope_scaling)
    with open_weights(plan.checkpoint) as source:
        sequences, weighting = inputs(plan, source, report)
        done, losses = store.finished()
        weights, arrays = Weights(store.smoothed(source), store, losses), Arrays(store.folder)
        report.stage("calibrating the layers")
        head = architecture.head(config)
        steps = 2 * config.layers + (head in store.places)
        report.step(done, steps)
        build = CalibratingBuilder(
            weights,
            config,
            sequences.ids,
            arrays=arrays,
            streams=Streams(store.folder, sequences.tokens, config.hidden, arrays),
            weighting=weighting,
            rounding=RoundedInputs(weights, store.sites, static=is_static(plan)),
            done=done,
            progress=lambda step: report.step(step, steps),
        )
        # the work is split over threads in parts that do not depend on how many threads there are
        with threadpool_limits(1, user_api="blas"):
            hidden = architecture.hidden(build, config)
            if config.task.generates:
                build.logits(hidden, head)
    return CalibrationRecord(
        method=f"{METHOD}, inputs smoothed" if store.sites else METHOD,
        tokens=sequences.tokens,
        seed=plan.calibration.seed,
        texts=[Text(**asdict(origin)) for origin in sequences.origins],
        importance="gradient" if counts_importance(plan) else "none",
        losses=dict(sorted(weights.losses.items())),
    )


def _check_disk(plan: Plan, folder: Path) -> None:
    """Check that the disk has room for what is not there yet.

    Raises:
        ExportFailed: with the bytes that are needed and those that are free.
    """
    from qdeploy.calibration.cost import predict

    # the file of codes is sparse until it is written; not every system counts its blocks
    here = sum(getattr(f.stat(), "st_blocks", 0) * 512 for f in folder.iterdir() if f.is_file())
    needed = round(ROOM * predict(plan, timed=False).disk_bytes) - here
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportFailed(
            f"calibration needs {size(needed)} of disk, and {size(free)} are free",
            where=folder,
            fix=DISK,
        )


def _tidy(folder: Path) -> None:
    """Delete all that was needed to go on, and is not any more."""
    for path in folder.iterdir():
        if path.name in (CODES, RECORD, LOCK):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
