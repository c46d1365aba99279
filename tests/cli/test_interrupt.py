"""Ctrl-C and SIGKILL in the middle of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.bundle import open_bundle
from tests.support.bundles import profile_text
from tests.support.command import Command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
EXPORT = ["export", "model", "--target", "scripted", "--profile", "scripted.toml", "-o", "out"]


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for an effect of the process, as long as it runs."""
    end = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def half_way(
    qdeploy: Command, here: Path, model: Path, scripted_toml: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Start an export, and return when half of a file is written."""

    def start(*more: str) -> subprocess.Popen[str]:
        scripted_toml.write_text(profile_text(export="hang"))
        process = qdeploy.start(*EXPORT, *more)
        wait_for(
            lambda: bool(list(here.glob(".out.partial-*/files/scripted.safetensors"))), process
        )
        return process

    return start


def beside(here: Path) -> list[str]:
    """Return what is in the working directory besides the test's own files."""
    return sorted(p.name for p in here.iterdir() if p.name not in ("model", "scripted.toml"))


class TestExport:
    def test_interrupted_is_130_and_leaves_nothing(
        self, half_way: Callable[..., subprocess.Popen[str]], here: Path
    ) -> None:
        process = half_way()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error.strip()) == (130, "", "interrupted")
        assert beside(here) == []

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
    def test_killed_leaves_no_output_and_the_next_run_cleans_up(
        self,
        how: signal.Signals,
        half_way: Callable[..., subprocess.Popen[str]],
        here: Path,
        qdeploy: Command,
    ) -> None:
        process = half_way()
        process.send_signal(how)
        process.communicate(timeout=60)
        assert "out" not in beside(here)
        (here / "scripted.toml").write_text(profile_text(answer="yes"))
        assert qdeploy(*EXPORT).code == 0
        assert beside(here) == ["out"]

    def test_killed_while_replacing_leaves_the_old_bundle(
        self,
        half_way: Callable[..., subprocess.Popen[str]],
        here: Path,
        bundle: Path,
    ) -> None:
        old = open_bundle(bundle.rename(here / "out"))
        process = half_way("--force")
        process.kill()
        process.communicate(timeout=60)
        assert open_bundle(here / "out", full=True) == old


def test_an_interrupted_answer_is_130_and_keeps_what_came(
    qdeploy: Command, here: Path, bundle: Path, model: Path, scripted_toml: Path
) -> None:
    scripted_toml.write_text(profile_text(answer="1234567890" * 20, delay=0.05))
    assert qdeploy(*EXPORT).code == 0
    process = qdeploy.start("run", "out", "count")
    assert process.stdout is not None
    began = process.stdout.read(3)
    process.send_signal(signal.SIGINT)
    rest, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert began == "123"
    assert ("1234567890" * 20).startswith(began + rest.rstrip("\n"))
    assert "Traceback" not in error
    assert error.strip().endswith("interrupted")
