"""Makes and removes vLLM's environments: whole, or not there.

An environment cannot be moved once it is made (its scripts hold its path), so it is made in its
place, and counts as installed once the file `environment.MARK` is in it, which is written last.
What is left of an installation that was interrupted is deleted by the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qdeploy.engines.vllm import environment
from qdeploy.engines.vllm.builds import Build, build_for
from qdeploy.errors import InputError, QdeployError, TargetUnavailable

RAY = "ray[default]>=2.50"
PROOF = "import vllm; print(vllm.__version__)"
PROOF_SECONDS = 600.0
"""Importing it takes half a minute where its files are not cached."""
LAST_WORDS = 300
SYSTEM = sys.platform

Step = Callable[[str], None]


def install(
    target: str, *, ray: bool = False, force: bool = False, on_step: Step = lambda step: None
) -> environment.Environment:
    """Make the environment for a target, and prove that vLLM can be imported in it.

    Packages come from where pip is configured to look.

    Args:
        target: the target's name.
        ray: install Ray as well, for models on several nodes.
        force: make it anew where it is there already.
        on_step: called with each step's title.

    Raises:
        TargetUnavailable: no index has vLLM for the target, or not for this system.
        QdeployError: pip fails, or what it installed does not work. Nothing is left.
    """
    build = build_for(target)
    if build.instead:
        raise TargetUnavailable(f"no index has vLLM for {target}", build.instead)
    if not SYSTEM.startswith("linux"):
        raise TargetUnavailable(
            f"vLLM has no wheels for this system ({SYSTEM})", "use Linux, or WSL on Windows"
        )
    place = environment.folder(target)
    with _locked(place):
        found = environment.installed().get(target)
        if found and not force and (has := environment.find(target)).has_ray >= ray:
            return has
        _delete(place)
        try:
            versions = _make(place, build, ray, on_step)
            mark = {"target": target, "requirements": _requirements(build, ray)} | versions
            (place / environment.MARK).write_text(json.dumps(mark, indent=1), encoding="utf-8")
        except BaseException:  # Ctrl-C, too
            _delete(place)
            raise
    environment.ask.cache_clear()
    return environment.find(target)


def remove(target: str) -> Path:
    """Delete the environment for a target, and return where it was.

    Raises:
        InputError: there is none.
        QdeployError: it cannot be deleted.
    """
    place = environment.folder(target)
    if not place.is_dir():
        known = ", ".join(environment.installed()) or "there is none"
        raise InputError(f"vLLM is not installed for {target}", fix=f"installed: {known}")
    with _locked(place):
        _delete(place)
    return place


def _requirements(build: Build, ray: bool) -> list[str]:
    return [*build.requirements, *([RAY] if ray else [])]


def _make(place: Path, build: Build, ray: bool, on_step: Step) -> dict[str, str]:
    on_step("creating a Python environment")
    _run([sys.executable, "-m", "venv", str(place)], place)
    python = str(place / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    wanted = _requirements(build, ray)
    on_step(f"installing {', '.join(wanted)}: gigabytes, and minutes")
    _run([*pip, "install", *build.options, *wanted], place)
    if build.without:
        _run([*pip, "uninstall", "--yes", *build.without], place)
    on_step("importing it")
    said = _run([python, "-I", "-c", PROOF], place, seconds=PROOF_SECONDS).split()
    found = environment.ask(Path(python), os.stat(python).st_mtime_ns)
    if not build.serves(found):
        raise QdeployError(
            f"pip installed vLLM {said[-1] if said else ''}, which is not built for {build.target}",
            where=place,
            fix="check which indexes pip is configured for: pip config list",
        )
    return dict(found)


def _run(command: Sequence[str], place: Path, *, seconds: float | None = None) -> str:
    """Run a command and return what it prints.

    Raises:
        QdeployError: it fails; the message has its last words.
    """
    changed = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=True, env=changed
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = " ".join((getattr(error, "stderr", None) or str(error)).split())
        raise QdeployError(
            f"vLLM's environment cannot be made: {said[-LAST_WORDS:]}",
            where=place,
            fix="make room, check pip's configuration and network, and try again; or make one "
            f"yourself and set {environment.PYTHON} to its interpreter",
        ) from None
    return done.stdout


def _delete(place: Path) -> None:
    (place / environment.MARK).unlink(missing_ok=True)  # from here on it is not whole
    if place.exists():
        try:
            shutil.rmtree(place)
        except OSError as error:
            raise QdeployError(
                f"it cannot be deleted ({error.strerror})",
                where=place,
                fix="end the programs that use it, or delete the folder yourself",
            ) from None


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Keep other installations of the same environment out."""
    from filelock import FileLock, Timeout

    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_name(f".{place.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise QdeployError(
            "another program is making or removing this environment",
            where=place,
            fix="wait until it has ended",
        ) from None
