"""Tests one case in a worker process, and returns how it ended as a diagnosis."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qdeploy.doctor.cases import Case
from qdeploy.doctor.worker import work
from qdeploy.errors import CheckFailed, QdeployError, TargetUnavailable
from qdeploy.results import Diagnosis
from qdeploy.system.memory import KILLED
from qdeploy.system.worker import WorkerFailed, run_worker
from qdeploy.targets import Evidence

LIMIT = 300.0
"""Default deadline of a case in seconds: several times the slowest case on two shared cores."""
NO_BACKEND = ("no installed backend serves it", "install one; see docs/adding-a-backend.md")
NO_PROFILE = ("no profile ships for it", "give one with --profile FILE.toml")


def examine(case: Case, *, limit: float = LIMIT) -> Diagnosis:
    """Test a case in a worker process, for at most *limit* seconds."""
    if case.backend is None or case.profile is None:
        message, fix = NO_BACKEND if case.backend is None else NO_PROFILE
        return _diagnosis(case, {"status": "absent", "message": message, "fix": fix})
    begin = time.monotonic()
    known: dict[str, Any] = {"status": "ok"}
    try:
        run_worker(work, asdict(case), seconds=limit, on_event=known.update)
    except TargetUnavailable as error:
        known |= {"status": "absent", "message": error.reason, "fix": error.fix}
    except QdeployError as error:
        failure = "wrong" if isinstance(error, CheckFailed) else "error"
        known |= _failed(failure, error.what, error.fix)
    except WorkerFailed as error:
        known |= _crashed(error) if error.code is not None else _hung(error, limit)
    known["seconds"] = round(time.monotonic() - begin, 2)
    return _diagnosis(case, known)


def _failed(failure: str, message: str, fix: str | None) -> dict[str, Any]:
    return {"status": "failed", "failure": failure, "message": message, "fix": fix}


def _hung(error: WorkerFailed, limit: float) -> dict[str, Any]:
    return _failed(
        "hang",
        f"no end after {limit:g} s, while {error.stage}",
        "update or reinstall the driver; if it is only slow, give a longer --timeout",
    )


def _crashed(error: WorkerFailed) -> dict[str, Any]:
    last = f" ({error.words[-1].strip()})" if error.words else ""
    if error.code in KILLED:
        message = f"the system killed the process while {error.stage}, as it does without memory"
        return _failed("crash", message, "close other programs, and run this again")
    return _failed(
        "crash",
        f"the process {error.how} while {error.stage}{last}",
        "update or reinstall the driver and the runtime",
    )


def _diagnosis(case: Case, known: dict[str, Any]) -> Diagnosis:
    """Build the result. Without a proof of placement, the evidence is `none`."""
    return Diagnosis(
        target=case.target,
        backend=case.backend,
        model=case.model,
        profile=Path(case.profile).stem if case.profile else None,
        device=known.get("device"),
        evidence=Evidence(known.get("evidence", Evidence.NONE)),
        status=known["status"],
        failure=known.get("failure"),
        message=known.get("message"),
        fix=known.get("fix"),
        seconds=known.get("seconds"),
    )
