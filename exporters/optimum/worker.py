"""The worker: does one step of an export."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from qdeploy.exporters.optimum.errors import explain
from qdeploy.exporters.optimum.job import Job
from qdeploy.system.parent import Parent


def work(job: dict[str, Any], parent: Parent) -> None:
    """Do the step that the `Job` in *job* describes.

    Raises:
        ExportFailed: whatever went wrong, with the cause and what to do.
    """
    wanted = Job.model_validate(job)
    try:
        _run(wanted, parent.stage)
    except Exception as error:
        traceback.print_exc()
        raise explain(error, wanted) from error


def _run(job: Job, stage: Callable[[str], None]) -> None:
    # each step imports hundreds of megabytes of libraries that the other one does not need
    if job.step == "trace":
        from qdeploy.exporters.optimum.trace import trace

        trace(job, stage)
    else:
        from qdeploy.exporters.optimum.quantize import quantize

        quantize(job, stage)
