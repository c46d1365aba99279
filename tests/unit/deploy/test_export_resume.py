"""An export is taken up again only where it would give the same bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy.export import export
from qdeploy.deploy.work_key import work_key
from qdeploy.interface import SCRATCH, Exporter, Progress
from qdeploy.planning.formats import Format
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.storage.workdir import FILES
from qdeploy.targets import INTEL_CPU
from tests.support.checkpoints import write_checkpoint

ANY_FILES = Format("openvino")
"""The format of the profiles, without a file that an export must write."""


class Interrupted(Exception):
    pass


class Stepwise(Exporter):
    """Writes one file a run, and is interrupted after each but the last."""

    name, formats, resumes = "stepwise", ("openvino",), True

    def why_not(self, plan: Plan) -> None:
        return None

    def peak_memory_bytes(self, plan: Plan) -> int:
        return 0

    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        (folder / SCRATCH).mkdir(exist_ok=True)
        count = sum(1 for p in folder.iterdir() if p.is_file())
        (folder / str(count)).write_text("content")
        if count < 2:
            raise Interrupted


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


def resolve(source: Path, name: str = "intel-cpu-int8", context: int | None = None) -> Plan:
    model, profile = read_checkpoint(source), load_profile(name)
    return make_plan(model, profile, INTEL_CPU, format_row=ANY_FILES, context=context)


def run(resolved: Plan, destination: Path) -> Bundle:
    return export(resolved, Stepwise(), destination, Progress(), force=False)


def test_it_goes_on_until_it_is_done(source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Interrupted):
            run(resolve(source), tmp_path / "out")
    made = run(resolve(source), tmp_path / "out")
    assert {"0", "1", "2"} <= made.manifest.files.keys()
    assert not any(name.startswith(".") for name in made.manifest.files)
    assert not (tmp_path / "out" / SCRATCH).exists()
    open_bundle(tmp_path / "out", full=True)


def edit(source: Path, name: str) -> Plan:
    content = json.loads((source / name).read_text("utf-8"))
    (source / name).write_text(json.dumps(content | {"edited": True}), "utf-8")
    return resolve(source)


def touch(source: Path) -> Plan:
    """Write one byte of the weights anew, and claim that it was long ago."""
    file = source / "model.safetensors"
    before = file.stat()
    with file.open("r+b") as out:
        out.seek(-1, os.SEEK_END)
        out.write(b"\x01")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return resolve(source)


CHANGES: dict[str, Callable[[Path], Plan]] = {
    "profile": lambda source: resolve(source, "intel-cpu-int4"),
    "context": lambda source: resolve(source, context=100),
    "config": lambda source: edit(source, "config.json"),
    "tokenizer": lambda source: edit(source, "tokenizer.json"),
    "weights": touch,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_input_starts_anew(
    change: Callable[[Path], Plan], source: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        run(resolve(source), tmp_path / "out")
    before = work_key(resolve(source), Stepwise())
    changed = change(source)
    assert work_key(changed, Stepwise()) != before
    with pytest.raises(Interrupted):
        run(changed, tmp_path / "out")
    [left] = [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert [p.name for p in (left / FILES).iterdir() if p.is_file()] == ["0"]


def test_equal_inputs_have_equal_keys(source: Path) -> None:
    assert work_key(resolve(source), Stepwise()) == work_key(resolve(source), Stepwise())
