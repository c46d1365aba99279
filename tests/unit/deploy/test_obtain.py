"""Obtain: a bundle from its path, or from a model that is exported into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qdeploy.deploy import cache
from qdeploy.deploy.obtain import find_bundle
from qdeploy.errors import BundleError, CheckFailed, CheckpointError, InputError, QdeployError
from qdeploy.interface import Progress
from qdeploy.planning.profile import parse_profile
from tests.support.bundles import profile_text, scripted_bundle, write_manifest
from tests.support.checkpoints import write_checkpoint
from tests.support.plugins import SCRIPTED, only


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    with only(tmp_path / "plugins", acme=SCRIPTED):
        yield


@pytest.fixture
def a_default_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted target have a profile, as if one shipped for it."""
    scripted = parse_profile(profile_text(answer="yes"), "scripted", where="a test")
    monkeypatch.setattr("qdeploy.deploy.export.default_profile", lambda *_: scripted)


def test_opens_a_bundle_at_its_path(tmp_path: Path) -> None:
    made = scripted_bundle(tmp_path / "made")
    assert find_bundle(str(made.path), None, Progress()) == (made, False)


def test_checks_what_it_opens(tmp_path: Path) -> None:
    spoilt = scripted_bundle(tmp_path / "spoilt")
    write_manifest(spoilt.path, {"schema_version": 99})
    with pytest.raises(BundleError, match="schema version 99"):
        find_bundle(str(spoilt.path), None, Progress())


def test_a_model_needs_a_target(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    with pytest.raises(InputError, match="is a model, not a bundle") as caught:
        find_bundle(str(folder), None, Progress())
    assert "--target" in (caught.value.fix or "")


@pytest.mark.parametrize("model", ["nowhere", "~nobody/x", "What is 2 + 2?", "x" * 5000, ""])
def test_what_is_neither_model_nor_bundle_is_refused(model: str) -> None:
    with pytest.raises(CheckpointError, match="no directory"):
        find_bundle(model, "scripted", Progress())


@pytest.mark.usefixtures("a_default_profile")
def test_a_model_is_exported_once_and_found_again(tmp_path: Path) -> None:
    folder = str(write_checkpoint(tmp_path / "model"))
    first, exported = find_bundle(folder, "scripted", Progress())
    assert exported
    assert find_bundle(folder, "scripted", Progress()) == (first, False)
    assert [e.path for e in cache.entries()] == [first.path]


@pytest.mark.usefixtures("a_default_profile")
def test_a_changed_model_is_another_bundle(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    first, _ = find_bundle(str(folder), "scripted", Progress())
    with (folder / "model.safetensors").open("rb+") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    second, exported = find_bundle(str(folder), "scripted", Progress())
    assert exported
    assert second.path != first.path


@pytest.mark.usefixtures("a_default_profile")
@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("tokenizer.json", None, CheckFailed),
        ("qdeploy.json", None, BundleError),
        ("qdeploy.json", "{", BundleError),
        ("notes.txt", "mine", CheckFailed),
    ],
)
def test_a_damaged_cache_entry_says_how_to_be_rid_of_it(
    file: str, content: str | None, kind: type[QdeployError], tmp_path: Path
) -> None:
    folder = str(write_checkpoint(tmp_path / "model"))
    first, _ = find_bundle(folder, "scripted", Progress())
    if content is None:
        (first.path / file).unlink()
    else:
        (first.path / file).write_text(content)
    with pytest.raises(kind) as caught:
        find_bundle(folder, "scripted", Progress())
    assert caught.value.fix == f"qdeploy cache clear {first.path.name}"
    cache.clear((first.path.name,))
    assert find_bundle(folder, "scripted", Progress()) == (first, True)
