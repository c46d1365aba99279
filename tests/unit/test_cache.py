"""The cache of bundles: one for each content, listed and cleared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdeploy import cache
from tests.support.bundles import scripted_bundle, scripted_plan


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


@pytest.fixture
def filled(root: Path) -> Path:
    """A cache with two bundles, compiled kernels, and what a killed export left."""
    for name in ("one", "two", ".three.partial-1-abc"):
        scripted_bundle(root / "bundles" / name, root.parent / "model")
    (root / "runtime").mkdir()
    (root / "runtime" / "blob").write_bytes(bytes(1000))
    return root


@pytest.mark.usefixtures("filled")
class TestFilled:
    def test_lists_bundles_then_what_runtimes_compiled(self) -> None:
        found = cache.entries()
        assert [e.path.name for e in found] == ["one", "two", "runtime"]
        assert found[2].nbytes == 1000
        assert found[0].nbytes == sum(f.stat().st_size for f in found[0].path.iterdir())

    def test_clears_what_is_named(self) -> None:
        assert [e.path.name for e in cache.clear(("two",))] == ["two"]
        assert [e.path.name for e in cache.entries()] == ["one", "runtime"]

    def test_clears_everything_leftovers_included(self, root: Path) -> None:
        assert [e.path.name for e in cache.clear()] == ["one", "two", "runtime"]
        assert [p for p in root.rglob("*") if p.is_file()] == []
