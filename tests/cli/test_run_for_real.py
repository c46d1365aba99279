"""`qdeploy export` and `qdeploy run` with the real exporter, runtime and embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.real import NEEDS_RUNTIME, QDEPLOY, qdeploy

pytestmark = [pytest.mark.slow, NEEDS_RUNTIME]
SUM, ANSWER = "What is 4826 + 735?", "5561"


def test_the_answer_goes_to_stdout_and_the_rest_to_stderr(nano_bundle: Path) -> None:
    done = qdeploy("run", str(nano_bundle), SUM, "--think", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{ANSWER}\n"
    assert "carry" in done.stderr
    assert "ran on CPU" in done.stderr
    assert "tok/s" in done.stderr


def test_json_is_one_object_with_the_promised_keys(nano_bundle: Path) -> None:
    arguments = ("--think", "--seed", "1", "--threads", "1", "--json")
    done = qdeploy("run", str(nano_bundle), SUM, *arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["text"] == ANSWER
    assert "carry" in result["thinking"]
    promised = {
        "text", "thinking", "finish_reason", "prompt_tokens", "new_tokens", "ttft_ms", "tpot_ms",
        "decode_tokens_per_s", "target", "backend", "device", "evidence", "placement",
        "tool_calls",
    }  # fmt: skip
    assert promised <= result.keys()
    assert result["evidence"] == "device"
    assert result["placement"]["devices"] == ["CPU"]
    assert result["placement"]["threads"] == 1  # as the compiled model says


def test_a_seed_gives_the_same_answer_again(nano_bundle: Path) -> None:
    arguments = ("run", str(nano_bundle), "Who are you?", "--seed", "5", "--temperature", "2")
    assert qdeploy(*arguments).stdout == qdeploy(*arguments).stdout


def test_the_prompt_may_come_from_stdin(nano_bundle: Path) -> None:
    done = qdeploy("run", str(nano_bundle), "--think", "--seed", "1", stdin=SUM)
    assert done.stdout == f"{ANSWER}\n"


def test_a_prompt_longer_than_the_context_is_refused(nano_bundle: Path) -> None:
    done = qdeploy("run", str(nano_bundle), "apple " * 4000)
    assert done.returncode == 2
    assert "2048" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="closes stdout by a shell")
def test_an_answer_needs_no_reader(nano_bundle: Path) -> None:
    command = [*QDEPLOY, "run", str(nano_bundle), SUM, "--think", "--seed", "1"]
    close = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(close, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ran on CPU" in done.stderr


UNFINISHED = """\
import sys, time
from pathlib import Path
from qdeploy import bundle
from qdeploy.deploy import run
from qdeploy.interface import Request
opened = bundle.open_bundle(Path(sys.argv[1]))
session = run.load(opened, run.choose(opened))
answer = Request((5, 6, 7), 2040)
began = time.monotonic()
for _ in session.generate(answer): pass
whole = time.monotonic() - began
stream = session.generate(answer)
next(stream)
print(whole, time.monotonic())
"""
"""Prints the duration of a whole answer, and the time at which it ends during another."""


def test_a_program_ends_without_the_rest_of_an_answer(nano_bundle: Path) -> None:
    command = [sys.executable, "-c", UNFINISHED, str(nano_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    whole, ended = map(float, done.stdout.split())
    assert time.monotonic() - ended < whole / 2


def test_a_simulated_npu_says_so_everywhere(tmp_path: Path) -> None:
    arguments = ("run", "qwen3-nano", SUM, "--target", "intel-npu", "--think", "--seed", "1")
    cache = {"QDEPLOY_CACHE_DIR": str(tmp_path)}
    absent = qdeploy(*arguments, **cache)
    if absent.returncode == 0:
        pytest.skip("this machine has an NPU")
    assert absent.returncode == 3
    assert "fix:" in absent.stderr

    shown = qdeploy(*arguments, "--simulate", **cache)
    assert shown.returncode == 0, shown.stderr
    assert "simulated" in shown.stderr
    result = json.loads(qdeploy(*arguments, "--simulate", "--json", **cache).stdout)
    assert result["evidence"] == "simulated"
    assert "simulated" in result["device"]
    assert result["text"] == ANSWER
    listed = json.loads(qdeploy("cache", "--json", **cache).stdout)
    assert [e["name"].startswith("qwen3-nano-intel-npu-int4-") for e in listed["entries"]] == [True]
