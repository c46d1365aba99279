"""A step whose worker reports stages, fails or dies.

The workers run a few lines of Python, since the real one needs torch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum import steps
from qdeploy.exporters.optimum.job import Job
from tests.support.workers import make_work

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signals")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = Job(
        step="trace", checkpoint=tmp_path, folder=tmp_path, architecture="Qwen3ForCausalLM",
        model_type="qwen3", kv_cache="u8", memory_bytes=3_400_000_000, matrices=(),
    )  # fmt: skip
    made.scratch.mkdir()
    return made


@pytest.fixture
def run(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that runs lines of Python in place of the step."""

    def run_lines(
        *lines: str,
        stage: Callable[[str], None] = lambda title: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        monkeypatch.setattr(steps, "work", make_work(tmp_path, monkeypatch, *lines))
        steps.run_step(job, stage, tick)

    return run_lines


def test_the_job_arrives_and_the_stages_come_back_in_order(
    run: Callable[..., None], job: Job
) -> None:
    titles: list[str] = []
    run(
        "from qdeploy.exporters.optimum.job import Job",
        f"assert repr(Job.model_validate(job)) == {repr(job)!r}",
        "for title in ('loading', 'quantizing é'): parent.stage(title)",
        stage=titles.append,
    )
    assert titles == ["loading", "quantizing é"]


def test_a_worker_runs_where_nothing_can_be_mistaken_for_a_module(
    run: Callable[..., None], job: Job
) -> None:
    run(f"assert os.path.samefile(os.getcwd(), {str(job.scratch)!r})")


def test_a_worker_is_offline_and_does_not_call_home(run: Callable[..., None]) -> None:
    run('assert (os.environ["HF_HUB_OFFLINE"], os.environ["CI"]) == ("1", "true")')


def test_ticks_are_called_during_the_work(run: Callable[..., None]) -> None:
    ticks: list[float] = []
    run("time.sleep(1)", tick=lambda: ticks.append(time.monotonic()))
    assert len(ticks) >= 2


def test_a_worker_that_is_done_is_not_waited_for(run: Callable[..., None]) -> None:
    begin = time.monotonic()
    run("import atexit; atexit.register(time.sleep, 600)")
    assert time.monotonic() - begin < 60


def test_a_failure_that_the_worker_explains_is_passed_on(run: Callable[..., None]) -> None:
    with pytest.raises(ExportFailed, match="planned as fp16") as told:
        run(
            "from qdeploy.errors import ExportFailed",
            "raise ExportFailed('planned as fp16, stored as int4', where='a.gate')",
        )
    assert told.value.where == "a.gate"


def test_a_worker_killed_by_the_system_ran_out_of_memory(run: Callable[..., None]) -> None:
    with pytest.raises(ExportFailed, match=r"out of memory.*about 3\.4 GB") as told:
        run("os.kill(os.getpid(), signal.SIGKILL)")
    assert told.value.fix is not None
    assert "more memory" in told.value.fix


@pytest.mark.parametrize(
    ("last", "how"),
    [("sys.exit(3)", "with code 3"), ("os.abort()", "by SIGABRT"), ("os._exit(0)", "with code 0")],
)
def test_any_other_death_is_reported_with_the_last_lines(
    last: str, how: str, run: Callable[..., None]
) -> None:
    with pytest.raises(ExportFailed, match=how) as told:
        run('for n in range(100): print("line", n, file=sys.stderr, flush=True)', last)
    assert "line 99" in told.value.what
    assert "line 50" not in told.value.what
