"""`qdeploy run ORGANIZATION/NAME`, where the hub's repository is a bundle."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from tests.support.bundles import read_manifest, write_manifest
from tests.support.command import QuickCommand
from tests.support.fake_hub import FakeHub, fake_hub
from tests.support.scripted import WEIGHTS

BUNDLE, ANSWER = "someone/exported", "4 汉🚀\n"
RUN = ("run", BUNDLE, "2 + 2?")


@pytest.fixture
def hub(here: Path, pristine: Path) -> Iterator[FakeHub]:
    """A hub with one bundle, and beside it a file that the manifest does not list."""
    with fake_hub(here.parent / "hub-cache") as served:
        served.models[BUNDLE] = Path(shutil.copytree(pristine, here.parent / "served"))
        (here.parent / "served" / "picture.png").write_bytes(b"large")
        yield served


def test_it_is_downloaded_and_runs(hub: FakeHub, quick: QuickCommand) -> None:
    result = quick(*RUN)
    assert (result.code, result.stdout) == (0, ANSWER), result.stderr
    assert "picture.png" not in hub.served
    assert {"qdeploy.json", "README.md", WEIGHTS} <= set(hub.served)


def test_it_is_downloaded_once_and_needs_no_hub_afterwards(
    hub: FakeHub, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quick(*RUN).code == 0
    hub.served.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert quick(*RUN).stdout == ANSWER
    assert quick(*RUN, "--target", "scripted").stdout == ANSWER
    assert hub.served == []


def test_a_cache_of_a_part_is_completed(hub: FakeHub, quick: QuickCommand) -> None:
    """Other libraries download single files, e.g. `AutoTokenizer.from_pretrained`."""
    hf_hub_download(BUNDLE, "config.json")
    assert quick(*RUN).stdout == ANSWER
    assert WEIGHTS in hub.served


@pytest.mark.skipif(sys.platform == "win32", reason="the cache has no links there")
def test_its_folder_in_the_cache_runs_and_is_verified(hub: FakeHub, quick: QuickCommand) -> None:
    assert quick(*RUN).code == 0
    [snapshot] = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*")
    assert os.path.islink(snapshot / WEIGHTS)
    assert quick("run", snapshot, "2 + 2?").stdout == ANSWER
    assert quick("run", snapshot.parents[1], "2 + 2?").stdout == ANSWER
    assert quick("verify", snapshot).code == 0


def test_offline_it_is_named_as_what_is_missing(
    hub: FakeHub, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        refused = quick(*RUN, HF_HUB_OFFLINE="1")
    refused.fails(1, f"{BUNDLE}: HF_HUB_OFFLINE is set", "fix: run this again without HF_HUB_OFF")
    assert quick(*RUN).code == 0, hub


def test_a_model_of_the_hub_still_needs_a_target(
    hub: FakeHub, model: Path, quick: QuickCommand
) -> None:
    hub.models["someone/model"] = model
    says = "someone/model is a model, not a bundle, so the target must be named"
    quick("run", "someone/model", "hi").fails(2, says, "fix: add --target")
    assert hub.served == [], "nothing of the model is downloaded to say so"


def test_a_model_in_the_cache_still_needs_a_target_offline(
    hub: FakeHub, model: Path, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["someone/model"] = model
    hf_hub_download("someone/model", "config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    quick("run", "someone/model", "hi").fails(2, "is a model, not a bundle", "fix: add --target")


def test_what_the_hub_does_not_have_is_named(hub: FakeHub, quick: QuickCommand) -> None:
    assert "someone/nothing" not in hub.models
    quick("run", "someone/nothing", "hi").fails(2, "no such model on the hub", "fix:")


def test_names_that_leave_the_folder_are_refused_before_a_download(
    hub: FakeHub, quick: QuickCommand
) -> None:
    served = hub.models[BUNDLE]
    manifest = read_manifest(served)
    manifest["files"]["../secret"] = manifest["files"].pop(WEIGHTS)
    write_manifest(served, manifest)
    quick(*RUN).fails(2, "'../secret' is not the path of a file in the bundle's folder")
    assert set(hub.served) == {"qdeploy.json"}


def test_a_changed_file_is_found(hub: FakeHub, quick: QuickCommand) -> None:
    weights = hub.models[BUNDLE] / WEIGHTS
    weights.write_bytes(bytes(weights.stat().st_size))
    quick(*RUN).fails(4, f"corrupted bundle: {WEIGHTS}")
