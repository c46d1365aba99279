"""The parent: runs each step of an export in a worker process, and says how a worker died."""

from __future__ import annotations

from collections.abc import Callable

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.failures import out_of_memory
from qdeploy.exporters.optimum.job import Job
from qdeploy.exporters.optimum.worker import work
from qdeploy.system.worker import WorkerFailed, run_worker

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # the one setting by which both openvino-telemetry and NNCF keep from calling home
    "CI": "true",
}
"""What a worker's environment has besides the caller's."""
KILLED = (-9, 137)
"""Exit codes of a process that the system killed, by itself and in a shell of a container."""


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
            folder=job.scratch,  # so that no file of the user's is taken for a module
            until_exit=False,  # torch and OpenVINO take seconds to unload
        )
    except WorkerFailed as error:
        if error.code in KILLED:
            how = "the system killed the export process"
            raise out_of_memory(how, job.memory_bytes) from None
        last = "".join(f"\n  | {line}" for line in error.words)
        raise ExportFailed(f"the export process {error.how}{last}") from None
