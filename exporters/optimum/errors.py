"""Turns exceptions of the worker into errors with a cause and a fix."""

from __future__ import annotations

import errno
import shutil

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.job import Job
from qdeploy.storage.atomic import ELSEWHERE
from qdeploy.storage.sizes import size
from qdeploy.system.memory import is_out_of_memory

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MOST_CHARACTERS = 400
"""Limit of a library's message; OpenVINO's can be pages long."""
WRITE_FAILED = "iostream"
"""Part of the message of C++ runtimes when a stream cannot be written; the cause is not in it."""
TIGHT_BYTES = 2**20
"""With less free space than this, a full disk is taken to be the cause."""


def explain(error: Exception, job: Job) -> ExportFailed:
    """Turn any exception into one error with the cause and a fix."""
    if isinstance(error, ExportFailed):
        return error
    text = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_CHARACTERS]
    free = shutil.disk_usage(job.folder).free
    if _disk_is_full(error, free):
        return ExportFailed(
            f"the disk is full ({free / 1e6:.0f} MB left)",
            where=job.folder,
            fix=f"free space, or {ELSEWHERE}; the unquantized model needs room as well",
        )
    if is_out_of_memory(error):
        return out_of_memory(text, job.memory_bytes)
    if isinstance(error, ImportError):
        return ExportFailed(
            f"a library of the exporter does not load ({text})",
            fix="pip install --upgrade 'qdeploy[optimum]'",
        )
    return ExportFailed(f"step {job.step!r} failed ({text})", where=job.checkpoint)


def out_of_memory(how: str, memory_bytes: int) -> ExportFailed:
    """Return the error for too little memory; *memory_bytes* is the predicted peak."""
    return ExportFailed(
        f"out of memory ({how}); this export takes about {size(memory_bytes)}",
        fix="close other programs, or export on a machine with more memory",
    )


def _disk_is_full(error: Exception, free: int) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return isinstance(error, RuntimeError) and (WRITE_FAILED in str(error) or free < TIGHT_BYTES)
