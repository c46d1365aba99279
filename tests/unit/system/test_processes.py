"""Child processes: which code they run, how they end and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qdeploy.system import processes


def test_the_module_gets_its_arguments_and_this_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_up.py").write_text(
        "import json, sys\ndef main(): print(json.dumps([sys.argv[1:], sys.path]))\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    command = processes.python("made_up", "one", "", "汉")
    printed = subprocess.run(command, check=True, capture_output=True).stdout
    assert json.loads(printed) == [["one", "", "汉"], sys.path]


def test_nothing_that_lies_in_the_working_directory_is_run(tmp_path: Path) -> None:
    for name in ("importlib", "json", "qdeploy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    command = processes.python("qdeploy.__main__", "--version")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("qdeploy ")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (7, "exited with code 7"),
        (-9, "was killed by SIGKILL"),
        (-99, "was killed by signal 99"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a name of POSIX")
def test_the_end_in_words(code: int, words: str) -> None:
    assert processes.ending(code) == words


def test_a_child_is_ended_once_or_twice() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(command, start_new_session=True)
    for _ in range(2):
        processes.end(child)
        assert child.returncode
