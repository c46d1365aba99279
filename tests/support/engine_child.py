"""Starts the stub of an engine as a child, asks it, and ends it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from qdeploy.engines.child import Child
from qdeploy.engines.health import check_health
from qdeploy.engines.process import Launch
from qdeploy.errors import GenerationFailed

STUB = Path(__file__).parent / "engine_process.py"
SECONDS = 20.0
IN_FOLDER = "import os, sys; os.chdir(sys.argv[1]); os.execv(sys.executable, sys.argv[2:])"


def launch(folder: Path, *habits: str, **changed: object) -> Launch:
    start = (sys.executable, "-c", IN_FOLDER, str(folder), sys.executable, str(STUB))
    settings: dict[str, object] = {
        "name": "the stub",
        "command": lambda port: (*start, str(port), *habits),
        "check": check_health,
        "log": folder / "log.txt",
        "seconds": SECONDS,
        "grace": 2.0,
    }
    return Launch(**(settings | changed))  # type: ignore[arg-type]


def ask(url: str) -> int:
    """The process id of the engine."""
    with urllib.request.urlopen(f"{url}/pid", timeout=SECONDS) as answer:  # noqa: S310
        return int(answer.read())


def ask_child(child: Child) -> int:
    with child.serving() as url:
        return ask(url)


def fail_while(child: Child, act: Callable[[str], object]) -> None:
    """A request that fails after something happens to the engine at a URL."""
    with child.serving() as url:
        with contextlib.suppress(OSError):
            act(url)
        raise GenerationFailed("the connection broke")


def kill(url: str) -> None:
    os.kill(ask(url), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def orphan(log: Path) -> int:
    found = re.search(r"orphan (\d+)", log.read_text())
    assert found
    return int(found[1])
