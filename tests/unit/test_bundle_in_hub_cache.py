"""A bundle in the hub's cache: links into the blobs of its own model, and into no other place."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.errors import BundleError, CheckFailed
from tests.support.bundles import scripted_bundle
from tests.support.hub_cache import snapshot
from tests.support.scripted import WEIGHTS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege")


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return scripted_bundle(tmp_path / "made")


@pytest.fixture
def cached(made: Bundle, tmp_path: Path) -> Path:
    return snapshot(made.path, tmp_path / "hub", "acme/made")


def relink(link: Path, target: Path) -> None:
    link.unlink()
    link.symlink_to(target)


def test_it_is_the_same_bundle(cached: Path, made: Bundle, tmp_path: Path) -> None:
    assert open_bundle(cached, full=True).digest == made.digest
    (tmp_path / "link").symlink_to(cached)
    assert open_bundle(tmp_path / "link", full=True).digest == made.digest


def test_its_models_folder_names_the_snapshot(cached: Path) -> None:
    with pytest.raises(BundleError, match="the folder of a bundle in the hub's cache") as caught:
        open_bundle(cached.parents[1])
    assert caught.value.fix == f"give {cached}"


def test_a_blob_that_changed_is_found(cached: Path) -> None:
    blob = Path(os.path.realpath(cached / WEIGHTS))
    blob.write_bytes(bytes(len(blob.read_bytes())))
    with pytest.raises(CheckFailed, match=f"corrupted bundle: {WEIGHTS}"):
        open_bundle(cached)


@pytest.mark.parametrize(
    "place", ["secret", "hub/models--acme--other/blobs/secret", "hub/models--acme--made/secret"]
)
def test_a_link_to_any_other_place_is_refused(place: str, cached: Path, tmp_path: Path) -> None:
    secret = tmp_path / place
    secret.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cached / WEIGHTS, secret)
    relink(cached / WEIGHTS, secret)
    with pytest.raises(BundleError, match="is a link that leaves the bundle's folder"):
        open_bundle(cached)


def test_a_blob_that_is_a_link_itself_is_refused(cached: Path, tmp_path: Path) -> None:
    blob = Path(os.path.realpath(cached / WEIGHTS))
    shutil.move(blob, tmp_path / "secret")
    blob.symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="is a link that leaves"):
        open_bundle(cached)


def test_a_folder_that_only_resembles_a_snapshot_has_no_blobs(made: Bundle, tmp_path: Path) -> None:
    for name in ("files/snapshots", "models--acme--made/other"):
        folder = tmp_path / name / "0123"
        shutil.copytree(made.path, folder)
        blobs = folder.parent.parent / "blobs"
        blobs.mkdir()
        shutil.move(folder / WEIGHTS, blobs / "w")
        (folder / WEIGHTS).symlink_to(blobs / "w")
        with pytest.raises(BundleError, match="is a link that leaves"):
            open_bundle(folder)
