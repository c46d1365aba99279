"""The cache of bundles: one for each content, listed and cleared."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdeploy.bundle import MANIFEST, open_bundle
from qdeploy.deploy import cache
from qdeploy.deploy.export import export
from qdeploy.errors import QdeployError
from qdeploy.interface import Progress
from qdeploy.planning.plan import Plan
from qdeploy.storage import workdir
from qdeploy.storage.workdir import FILES
from tests.support.bundles import scripted_bundle, scripted_plan
from tests.support.scripted import ScriptedExporter


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


def key(folder: Path, exporter: str = "scripted", **script: Any) -> str:
    return cache.bundle_path(scripted_plan(folder, **script), exporter).name


class TestKey:
    def test_is_readable(self, tmp_path: Path) -> None:
        plan = scripted_plan(tmp_path / "model", name="Qwen/Qwen3-0.6B")
        name = cache.bundle_path(plan, "scripted").name
        assert name.startswith("Qwen--Qwen3-0.6B-scripted-")

    def test_is_the_same_for_the_same_content(self, tmp_path: Path) -> None:
        assert key(tmp_path / "one") == key(tmp_path / "two")

    def test_changes_with_the_weights(self, tmp_path: Path) -> None:
        before = key(tmp_path / "model")
        with (tmp_path / "model" / "model.safetensors").open("rb+") as file:
            file.seek(-1, 2)
            file.write(b"\x01")
        assert key(tmp_path / "model") != before

    def test_changes_with_the_tokenizer(self, tmp_path: Path) -> None:
        before = key(tmp_path / "model")
        with (tmp_path / "model" / "tokenizer.json").open("a") as file:
            file.write("\n")
        assert key(tmp_path / "model") != before

    def test_changes_with_the_profile(self, tmp_path: Path) -> None:
        assert key(tmp_path / "model", answer="yes") != key(tmp_path / "model", answer="no")

    def test_changes_with_the_exporter(self, tmp_path: Path) -> None:
        assert key(tmp_path / "model") != key(tmp_path / "model", exporter="another")

    def test_changes_with_the_context(self, tmp_path: Path) -> None:
        plan = scripted_plan(tmp_path / "model")
        shorter = replace(plan, context=100)
        assert cache.bundle_path(plan, "e") != cache.bundle_path(shorter, "e")


def test_the_environment_chooses_the_place(root: Path) -> None:
    assert cache.root() == root
    assert cache.runtime_dir().is_relative_to(root)


def test_without_a_choice_it_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.ENVIRONMENT)
    assert cache.root().is_absolute()
    assert "qdeploy" in cache.root().parts


def test_an_empty_cache_is_no_error() -> None:
    assert cache.entries() == []
    assert cache.clear() == []


LEFT = [".three.partial-0123abcd", ".bench.partial-0123abcd"]
NAMES = ["one", "two", "runtime", *LEFT]


@pytest.fixture
def filled(root: Path) -> Path:
    """A cache with two bundles, compiled kernels, and what a killed export and bench left."""
    for name in ("one", "two", f"{LEFT[0]}/{FILES}"):
        scripted_bundle(root / "bundles" / name, root.parent / "model")
    for folder in ("runtime", f"{LEFT[1]}/{FILES}"):
        (root / folder).mkdir(parents=True)
        (root / folder / "blob").write_bytes(bytes(1000))
    return root


def listed() -> list[str]:
    return [e.path.name for e in cache.entries()]


@pytest.mark.usefixtures("filled")
class TestFilled:
    def test_lists_bundles_then_what_runtimes_compiled_then_leftovers(self) -> None:
        found = cache.entries()
        assert listed() == NAMES
        assert found[0].nbytes == sum(f.stat().st_size for f in found[0].path.iterdir())
        assert found[2].nbytes == found[4].nbytes == 1000

    @pytest.mark.parametrize("name", NAMES)
    def test_clears_what_is_named(self, name: str) -> None:
        assert [e.path.name for e in cache.clear((name,))] == [name]
        assert listed() == [n for n in NAMES if n != name]

    def test_clears_everything(self, root: Path) -> None:
        assert [e.path.name for e in cache.clear()] == NAMES
        assert [p for p in root.rglob("*") if p.is_file()] == []

    def test_lists_and_clears_a_bundle_that_is_damaged(self, root: Path) -> None:
        (root / "bundles" / "one" / MANIFEST).unlink()
        assert listed() == NAMES
        assert [e.path.name for e in cache.clear(("one",))] == ["one"]

    def test_half_of_a_bundle_is_never_seen(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(folder: Path, **_: object) -> None:
            (folder / MANIFEST).unlink()
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(shutil, "rmtree", fail)
        with pytest.raises(QdeployError, match="cannot be removed") as caught:
            cache.clear(("one",))
        assert caught.value.where == str(root / "bundles" / "one")
        assert not (root / "bundles" / "one").exists()


def test_what_an_export_and_a_bench_work_in_is_neither_listed_nor_removed(root: Path) -> None:
    class Working(ScriptedExporter):
        def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
            super().export(plan, folder, progress)
            with cache.scratch("bench") as empty:
                assert cache.entries() == cache.clear() == []
                assert empty.is_dir()

    plan = scripted_plan(root.parent / "model")
    place = cache.bundle_path(plan, "scripted")
    made = export(plan, Working(), place, Progress(), force=True)
    assert open_bundle(place, full=True) == made
    assert [e.path for e in cache.entries()] == [place]


def test_a_calibration_is_listed_and_cleared_unless_a_run_works_on_it(root: Path) -> None:
    for name in ("done", "running"):
        (root / "calibrations" / name).mkdir(parents=True)
        (root / "calibrations" / name / "codes").write_bytes(bytes(1000))
    lock = workdir.try_lock(root / "calibrations" / "running")
    assert lock is not None
    assert listed() == ["done"]
    with pytest.raises(BlockingIOError):
        workdir.remove(root / "calibrations" / "running")
    assert [e.path.name for e in cache.clear()] == ["done"]
    lock.release()
    assert listed() == ["running"]
    assert [e.nbytes for e in cache.clear(("running",))] == [1000]
    assert list((root / "calibrations").iterdir()) == []


def test_what_a_killed_bench_left_is_removed_by_the_next(root: Path) -> None:
    left = root / ".bench.partial-0123abcd"
    left.mkdir(parents=True)
    assert listed() == [left.name]
    with cache.scratch("bench") as empty:
        assert list(root.iterdir()) == [empty.parent]
    assert list(root.iterdir()) == []
