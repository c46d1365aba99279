"""Starts the child for a case, waits so long and no longer, and says how it ended."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from qdeploy.doctor.cases import Case
from qdeploy.results import Diagnosis
from qdeploy.system import processes
from qdeploy.targets import Evidence

LIMIT = 300.0
"""Seconds that a case may take: several times what the slowest took on two shared cores."""
TAIL = 300
"""Characters of a crashed child's last line that are shown."""
NO_BACKEND = ("no installed backend serves it", "install one; see docs/adding-a-backend.md")
NO_PROFILE = ("no profile ships for it", "give one with --profile FILE.toml")


def examine(case: Case, *, limit: float = LIMIT) -> Diagnosis:
    """Try a case in a process of its own, for at most *limit* seconds."""
    if case.backend is None or case.profile is None:
        message, fix = NO_BACKEND if case.backend is None else NO_PROFILE
        return _diagnosis(case, {"status": "absent", "message": message, "fix": fix})
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qdeploy-doctor-") as folder:
        report, errors = Path(folder) / "report", Path(folder) / "errors"
        code = _run(case, report, errors, limit)
        known = _read(report)
        if code is None:
            known |= _hung(known, limit)
        elif "status" not in known or code:
            known |= _crashed(known, code, errors)
    known["seconds"] = round(time.monotonic() - begin, 2)
    return _diagnosis(case, known)


def _run(case: Case, report: Path, errors: Path, limit: float) -> int | None:
    """The child's exit code, or None where it had to be ended."""
    command = processes.python("qdeploy.doctor.child", str(report), case.to_json())
    with errors.open("wb") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            processes.end(child)


def _read(report: Path) -> dict[str, Any]:
    """All that the child told, the last word on each subject."""
    known: dict[str, Any] = {}
    try:
        lines = report.read_text(encoding="utf-8").splitlines()
    except OSError:
        return known
    for line in lines:
        try:
            known |= json.loads(line)
        except ValueError:  # cut short by the crash
            break
    return known


def _hung(known: dict[str, Any], limit: float) -> dict[str, Any]:
    return {
        "status": "failed",
        "failure": "hang",
        "message": f"no end after {limit:g} s, while {known.get('stage', 'starting')}",
        "fix": "update or reinstall the driver; if it is only slow, a longer --timeout",
    }


def _crashed(known: dict[str, Any], code: int, errors: Path) -> dict[str, Any]:
    said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f" ({said[-1].strip()[:TAIL]})" if said else ""
    stage = known.get("stage", "starting")
    return {
        "status": "failed",
        "failure": "crash",
        "message": f"the process {processes.ending(code)} while {stage}{last}",
        "fix": "update or reinstall the driver and the runtime",
    }


def _diagnosis(case: Case, known: dict[str, Any]) -> Diagnosis:
    """What is known as a result. There is evidence once the runtime told where the work is."""
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
