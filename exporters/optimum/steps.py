"""The parent: runs each step of an export in a worker process."""

from __future__ import annotations

from collections.abc import Callable

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.errors import out_of_memory
from qdeploy.exporters.optimum.job import Job
from qdeploy.exporters.optimum.worker import work
from qdeploy.system import torch_extensions
from qdeploy.system.memory import KILLED
from qdeploy.system.worker import WorkerFailed, run_worker

ENVIRONMENT = torch_extensions.NOT_LOADED | {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # the only setting that stops the telemetry of both OpenVINO and NNCF
    "CI": "true",
}
"""Environment variables of a worker, besides those of this process."""


def run_step(job: Job, stage: Callable[[str], None], tick: Callable[[], None]) -> None:
    """Run a worker for one step and wait for its end.

    Args:
        job: the step.
        stage: called with the title of each stage as it begins.
        tick: called a few times a second.

    Raises:
        ExportFailed: the step failed, or its worker died.
    """
    try:
        run_worker(
            work,
            job.model_dump(mode="json"),
            on_stage=stage,
            on_tick=tick,
            environment=ENVIRONMENT,
            folder=job.scratch,  # no file of the user can be imported from there
            until_exit=False,  # torch and OpenVINO take seconds to unload
        )
    except WorkerFailed as error:
        if error.code in KILLED:
            how = "the system killed the export process"
            raise out_of_memory(how, job.memory_bytes) from None
        last = "".join(f"\n  | {line}" for line in error.words)
        raise ExportFailed(f"the export process {error.how}{last}") from None
