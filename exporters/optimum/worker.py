"""The process that does the work: `python -m qdeploy.exporters.optimum.worker`.

Reads a `Job` from the first line of standard input and does that step of it. What it has to say
goes to standard output as lines of JSON: `{"stage": TITLE}` as it goes along, at last
`{"done": true}` or `{"failed": {"what": ..., "where": ..., "fix": ...}}`. Prints of the libraries
go to standard error. Standard input stays open as long as the parent lives; when it closes, the
worker ends at once, so that a killed parent leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from qdeploy.exporters.optimum.failures import explain
from qdeploy.exporters.optimum.job import Job


def main() -> int:
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = Job.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run(job, lambda title: _tell(channel, stage=title))
    except Exception as error:
        traceback.print_exc()
        failure = explain(error, job)
        _tell(channel, failed={"what": failure.what, "where": failure.where, "fix": failure.fix})
        return 1
    _tell(channel, done=True)
    return 0


def _run(job: Job, stage: Callable[[str], None]) -> None:
    # each step imports hundreds of megabytes of libraries that the other one does not need
    if job.step == "trace":
        from qdeploy.exporters.optimum.trace import trace

        trace(job, stage)
    else:
        from qdeploy.exporters.optimum.quantize import quantize

        quantize(job, stage)


def _tell(channel: TextIO, **message: Any) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
