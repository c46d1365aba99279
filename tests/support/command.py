"""The real command, in its own process and environment."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qdeploy.cli import run_cli
from tests.support.plugins import registry_of

ROOT = Path(__file__).parents[2]
NO_HUB = "http://127.0.0.1:9"
"""An address on the discard port, which refuses connections at once."""


@dataclass(frozen=True)
class Result:
    """The outcome of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """Return the JSON object on stdout. Anything else there fails the test."""
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found

    def fails(self, code: int, *says: str) -> None:
        """Check that it failed with one readable message and nothing on stdout."""
        assert self.code == code, self.stderr
        assert self.stdout == ""
        found = " ".join(self.stderr.split())  # the terminal's line breaks are not the message's
        for unreadable in ("Traceback", "internal error"):
            assert unreadable not in found
        for words in says:
            assert words in found, f"{words!r} is not in {found!r}"


@dataclass(frozen=True)
class Command:
    """`qdeploy` with the scripted plugins, an empty home and no hub.

    Attributes:
        folder: the working directory, also for relative paths in arguments.
        plugins: folder with the plugins' distribution.
    """

    folder: Path
    plugins: Path

    def environment(self, **changes: str) -> Mapping[str, str]:
        home = str(self.folder.parent / "home")
        return os.environ | {
            "HOME": home, "USERPROFILE": home, "HF_HOME": f"{home}/hf", "HF_ENDPOINT": NO_HUB,
            "QDEPLOY_CACHE_DIR": f"{home}/cache", "QDEPLOY_REQUIRE": "",
            "PYTHONIOENCODING": "utf-8", "TERM": "xterm",
            "PYTHONPATH": os.pathsep.join([str(self.plugins), str(ROOT)]),
        } | changes  # fmt: skip

    def reports(self, printed: Result) -> int:
        """Give what a command printed to `report` as a file, and return how many results it has."""
        (self.folder / "printed.json").write_text(printed.stdout, encoding="utf-8")
        done = self("report", "printed.json", "-o", "page", "--force", "--json")
        assert done.code == 0, done.stderr
        count: int = done.json["results"]
        return count

    def line(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "qdeploy", *map(str, arguments)]

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command and return its process, for tests that interrupt it."""
        return subprocess.Popen(
            self.line(*arguments), cwd=self.folder, env=self.environment(**environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8",
        )  # fmt: skip

    def __call__(
        self, *arguments: str | Path, stdin: str | bytes = "", **environment: str
    ) -> Result:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.line(*arguments), cwd=self.folder, env=self.environment(**environment),
            input=given, capture_output=True, timeout=100, check=False,
        )  # fmt: skip
        return Result(done.returncode, *(_text(out) for out in (done.stdout, done.stderr)))


class QuickCommand(Command):
    """The same command without a new process, for the many refusals."""

    def __call__(
        self, *arguments: str | Path, stdin: str | bytes = "", **environment: str
    ) -> Result:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(err),
            registry_of(self.plugins),
        ):
            patch.chdir(self.folder)
            for name, value in self.environment(**environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
            code = run_cli([str(argument) for argument in arguments])
        return Result(code, out.getvalue(), err.getvalue())


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").replace("\r\n", "\n")
