"""Ends a process together with all processes that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class ProcessGroup:
        """A worker and all processes that it starts: a job object, which outlives the worker."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            self._process = process
            self._kernel = ctypes.WinDLL("kernel32")
            self._kernel.CreateJobObjectW.restype = wintypes.HANDLE
            self._job = wintypes.HANDLE(self._kernel.CreateJobObjectW(None, None))
            handle = wintypes.HANDLE(int(process._handle))
            self._kernel.AssignProcessToJobObject(self._job, handle)

        def end(self) -> None:
            self._kernel.TerminateJobObject(self._job, 1)
            self._kernel.CloseHandle(self._job)
            self._process.kill()  # no effect on a process that has ended
            self._process.wait()

else:

    class ProcessGroup:
        """A worker and all processes that it starts: a process group, which outlives the worker."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            self._process = process

        def end(self) -> None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
