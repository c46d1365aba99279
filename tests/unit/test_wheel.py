"""The wheel holds what the tree holds, under one name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
CODE = {"backends": "qdeploy/backends", "exporters": "qdeploy/exporters"}
DATA = {"profiles": ("qdeploy/profiles", ".toml")}


def tree() -> list[Path]:
    """Files of the working tree that are tracked or could be, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout, so the tree cannot be told from what lies in it")
    return [Path(name) for name in done.stdout.split("\0") if name and os.path.lexists(ROOT / name)]


def expected(files: list[Path]) -> set[str]:
    """Where the files of the tree that belong into the wheel lie in it."""
    found: set[str] = set()
    for file in files:
        top, rest = file.parts[0], "/".join(file.parts[1:])
        if top == "qdeploy" and {"templates", "page"} & set(file.parts):
            found.add(file.as_posix())
        elif top in CODE and file.suffix == ".py":
            found.add(f"{CODE[top]}/{rest}")
        elif top in DATA and file.suffix == DATA[top][1]:
            found.add(f"{DATA[top][0]}/{rest}")
        elif top == "qdeploy" and (
            file.suffix in (".py", ".toml")
            or file.name == "py.typed"
            or file.parts[1] == "models"
            or "texts" in file.parts
        ):
            found.add(file.as_posix())
    return found


@pytest.mark.slow
def test_the_wheel_holds_what_the_tree_holds_and_nothing_else(tmp_path: Path) -> None:
    """Without isolation: setuptools is among the tools of development, the network is not."""
    files = tree()
    for file in files:
        target = tmp_path / "tree" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "../dist"]
    done = subprocess.run(
        command, cwd=tmp_path / "tree", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    names = set(ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {
        "qdeploy",
        f"qdeploy-{version('qdeploy')}.dist-info",
    }
    assert {name for name in names if name.startswith("qdeploy/")} == expected(files)
