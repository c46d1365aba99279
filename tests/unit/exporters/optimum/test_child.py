"""A worker that talks, fails, dies or hangs: what the caller hears, and that nothing stays behind.

The workers are stubs of a few lines; the real one needs torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum import child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signals")

DONE = 'print(json.dumps({"done": True}), flush=True)'


def run(
    folder: Path,
    *lines: str,
    job: str = "{}",
    stage: Callable[[str], None] = lambda title: None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    script = "\n".join(["import json, os, signal, sys, time", *lines])
    child.run(
        [sys.executable, "-c", script], job,
        folder=folder, memory_bytes=3_400_000_000, stage=stage, tick=tick,
    )  # fmt: skip


def wait_until_gone(pid: int, seconds: float = 10) -> bool:
    """Whether the process ends in this time; one that is only not yet waited for has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_the_job_arrives_and_the_stages_come_back_in_order(tmp_path: Path) -> None:
    titles: list[str] = []
    run(
        tmp_path,
        'for title in json.loads(sys.stdin.readline()): print(json.dumps({"stage": title}))',
        DONE,
        job=json.dumps(["loading", "quantizing é"]),
        stage=titles.append,
    )
    assert titles == ["loading", "quantizing é"]


def test_a_job_larger_than_a_pipe_arrives(tmp_path: Path) -> None:
    run(tmp_path, "assert len(sys.stdin.readline()) == 2**20 + 1", DONE, job="x" * 2**20)


def test_noise_on_standard_error_never_blocks(tmp_path: Path) -> None:
    run(tmp_path, 'print("noise\\n" * 2**18, file=sys.stderr)', DONE)


def test_a_worker_runs_where_nothing_can_be_mistaken_for_a_module(tmp_path: Path) -> None:
    run(tmp_path, f"assert os.path.samefile(os.getcwd(), {str(tmp_path)!r})", DONE)


def test_a_worker_is_offline_and_does_not_call_home(tmp_path: Path) -> None:
    run(tmp_path, 'assert (os.environ["HF_HUB_OFFLINE"], os.environ["CI"]) == ("1", "true")', DONE)


def test_the_caller_can_look_on_while_it_waits(tmp_path: Path) -> None:
    ticks: list[float] = []
    run(tmp_path, "time.sleep(1)", DONE, tick=lambda: ticks.append(time.monotonic()))
    assert len(ticks) >= 2


def test_a_failure_that_the_worker_explains_is_passed_on(tmp_path: Path) -> None:
    failed = {"what": "planned as fp16, stored as int4", "where": "a.gate", "fix": None}
    with pytest.raises(ExportFailed, match="planned as fp16") as told:
        run(tmp_path, f"print({json.dumps(json.dumps({'failed': failed}))})", "sys.exit(1)")
    assert told.value.where == "a.gate"


def test_a_worker_killed_by_the_system_ran_out_of_memory(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"out of memory.*about 3\.4 GB") as told:
        run(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert told.value.fix is not None
    assert "more memory" in told.value.fix


@pytest.mark.parametrize(
    ("last", "how"),
    [("sys.exit(3)", "with code 3"), ("os.abort()", "by SIGABRT"), ("pass", "with code 0")],
)
def test_any_other_death_comes_with_the_last_words(tmp_path: Path, last: str, how: str) -> None:
    with pytest.raises(ExportFailed, match=how) as told:
        run(
            tmp_path,
            'for n in range(100): print("line", n, file=sys.stderr, flush=True)',
            last,
        )
    assert "line 99" in told.value.what
    assert "line 50" not in told.value.what


def test_an_interrupt_kills_the_worker_and_what_it_started(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(title: str) -> None:
        pids.extend(map(int, title.split()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            tmp_path,
            "import subprocess",
            'other = subprocess.Popen(["sleep", "60"])',
            'print(json.dumps({"stage": f"{os.getpid()} {other.pid}"}), flush=True)',
            "time.sleep(60)",
            stage=interrupt,
        )
    assert len(pids) == 2
    assert all(wait_until_gone(pid) for pid in pids)


CALLER = """
import sys
from pathlib import Path
from qdeploy.exporters.optimum import child

WORKER = '''
import json, os, time, threading
from qdeploy.exporters.optimum import worker
threading.Thread(target=worker._end_with_parent, daemon=True).start()
print(json.dumps({"stage": str(os.getpid())}), flush=True)
time.sleep(60)
'''
child.run(
    [sys.executable, "-c", WORKER], "{}", folder=Path("."), memory_bytes=0,
    stage=lambda title: print(title, flush=True), tick=lambda: None,
)
"""


def test_a_worker_does_not_outlive_a_killed_caller(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CALLER], cwd=tmp_path, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        os.kill(pid, 0)
        caller.send_signal(signal.SIGKILL)
    assert wait_until_gone(pid)
