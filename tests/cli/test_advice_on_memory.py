"""Too little memory: how much is needed, how much there is, and a fix that makes it fit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy.bundle import Bundle
from qdeploy.deploy import shortage
from qdeploy.errors import OutOfMemory
from tests.support.bundles import read_manifest, scripted_bundle
from tests.support.command import QuickCommand
from tests.support.scripted import ScriptedExporter

Free = Callable[[float], None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Set the free memory in bytes."""
    return lambda nbytes: monkeypatch.setattr(shortage, "_free", lambda _: int(nbytes))


def bundle_with(here: Path, memory: Callable[[dict[str, Any]], float]) -> tuple[Bundle, float]:
    """A bundle whose runtime has the *memory* that is computed from the manifest's plan."""
    planned = read_manifest(scripted_bundle(here / "plain").path)["plan"]
    nbytes = memory(planned)
    return scripted_bundle(here / "tight", here / "plain-checkpoint", memory=nbytes), nbytes


def test_a_context_that_fits_is_named(here: Path, free: Free, quick: QuickCommand) -> None:
    def memory(planned: dict[str, Any]) -> float:
        return float(planned["weight_bytes"] + 1500 * planned["kv_bytes_per_token"])

    _, nbytes = bundle_with(here, memory)
    free(nbytes / shortage.SHARE)
    refused = quick("run", "tight", "hi")
    refused.fails(1, "out of memory", "a cache of 2048 tokens, and", "MB are free")
    match = re.search(r"fix: (--context) (\d+)$", refused.stderr)
    assert match
    assert match[2] == "1024"
    done = quick("run", "tight", "hi", match[1], match[2])
    assert done.code == 0, done.stderr


def test_weights_that_do_not_fit_need_more_than_a_shorter_context(
    here: Path, free: Free, quick: QuickCommand
) -> None:
    _, nbytes = bundle_with(here, lambda planned: planned["weight_bytes"] / 2)
    free(nbytes)
    refused = quick("run", "tight", "hi")
    refused.fails(
        1, "out of memory", "fix: close other programs, or export a profile of fewer bits"
    )


def test_much_free_memory_means_a_limit(here: Path, free: Free, quick: QuickCommand) -> None:
    bundle_with(here, lambda planned: planned["weight_bytes"] / 2)
    free(1e12)
    quick("run", "tight", "hi").fails(1, "1.00 TB are free", "fix: raise the limit")


def test_a_manifest_that_does_not_say_is_not_believed(here: Path, free: Free) -> None:
    bundle, _ = bundle_with(here, lambda _: 1.0)
    free(1e9)
    for strange in ({}, {"weight_bytes": "many"}, {"weight_bytes": 1, "kv_bytes_per_token": 0}):
        changed = bundle.manifest.model_copy(update={"plan": strange})
        device: Any = None
        with (
            pytest.raises(OutOfMemory, match=r"^it is full") as caught,
            shortage.telling_memory(Bundle(bundle.path, changed), device, None),
        ):
            raise OutOfMemory("it is full")
        assert caught.value.what == "it is full"


def test_what_a_backend_advises_is_left_alone(here: Path) -> None:
    bundle, _ = bundle_with(here, lambda _: 1.0)
    device: Any = None
    full = OutOfMemory("layers 3 to 5 do not fit", fix="2 devices of this size, by --devices")
    with pytest.raises(OutOfMemory) as caught, shortage.telling_memory(bundle, device, None):
        raise full
    assert caught.value is full


@pytest.mark.usefixtures("model", "scripted_toml")
def test_an_export_that_runs_out(quick: QuickCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object) -> None:
        raise MemoryError("Unable to allocate 9.31 GiB for an array")

    command = ["export", "model", "--target", "scripted", "--profile", "scripted.toml"]
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedExporter, "export", hungry)
        quick(*command).fails(
            1, "model: out of memory (Unable to allocate 9.31 GiB", "this export takes about 1.0 MB"
        )
        assert os.listdir() != []
    assert quick(*command).code == 0  # once there is more memory
