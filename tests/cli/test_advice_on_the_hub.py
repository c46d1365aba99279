"""What keeps a model of the hub from being used, and what helps: each fix is followed and works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.checkpoints import write_checkpoint
from tests.support.command import QuickCommand
from tests.support.fake_hub import FakeHub, fake_hub

MODEL = "someone/tuned"
COMMAND = ("export", MODEL, "--target", "intel-cpu", "--dry-run")


@pytest.fixture
def hub(here: Path) -> Iterator[FakeHub]:
    """A hub with one model."""
    with fake_hub(here.parent / "hub-cache") as served:
        served.models[MODEL] = write_checkpoint(here.parent / "served")
        yield served


class TestOffline:
    def test_the_variable_is_named_and_taken_back(
        self, hub: FakeHub, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            with monkeypatch.context() as patch:
                patch.setattr(constants, "HF_HUB_OFFLINE", True)
                refused = quick(*COMMAND, **{variable: "1"})
            refused.fails(
                1,
                f"{MODEL}: {variable} is set, and the model is not in the hub's cache",
                constants.HF_HUB_CACHE,
                f"fix: run this again without {variable}",
            )
        assert quick(*COMMAND).code == 0
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert quick(*COMMAND, HF_HUB_OFFLINE="1").code == 0  # it is in the cache now
        assert hub.endpoint

    @pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_a_cache_of_a_part_only(
        self, part: str, hub: FakeHub, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Other libraries download single files, e.g. `AutoConfig.from_pretrained`."""
        assert quick(*COMMAND).code == 0
        for file in Path(constants.HF_HUB_CACHE).rglob(part):
            file.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(constants, "HF_HUB_OFFLINE", True)
            refused = quick(*COMMAND, HF_HUB_OFFLINE="1")
        refused.fails(
            1, "the hub's cache has no", "HF_HUB_OFFLINE is set", "without HF_HUB_OFFLINE"
        )
        assert quick(*COMMAND).code == 0
        assert hub.models


@pytest.mark.parametrize(
    ("status", "headers", "code", "says"),
    [
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, 1,
         ["HTTP 401", "hf auth login"]),
        (401, {"X-Error-Code": "RepoNotFound"}, 2, ["no such model on the hub", "hf auth login"]),
        (403, {"X-Error-Code": "GatedRepo"}, 2,
         ["accept this model's terms", f"/{MODEL}, and run this again after: hf auth login"]),
        (403, {}, 1, ["HTTP 403"]),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, 2, ["has disabled"]),
        (429, {}, 1, ["too many requests (HTTP 429)", "wait some minutes"]),
        (500, {}, 1, ["has a fault (HTTP 500)", "try again later"]),
        (503, {}, 1, ["has a fault (HTTP 503)", "status.huggingface.co"]),
    ],
)  # fmt: skip
def test_answers_of_the_hub_that_refuse(
    status: int,
    headers: Mapping[str, str],
    code: int,
    says: list[str],
    hub: FakeHub,
    quick: QuickCommand,
) -> None:
    hub.status, hub.headers = status, headers
    quick(*COMMAND).fails(code, MODEL, *says)
    hub.status = None  # what the fix says to wait for, or to ask for
    assert quick(*COMMAND).code == 0


def test_a_token_that_the_hub_does_not_take(hub: FakeHub, quick: QuickCommand) -> None:
    hub.status = 401
    hub.headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
    refused = quick(*COMMAND, HF_TOKEN="hf_old")
    refused.fails(1, "does not take your token", "replace HF_TOKEN")


def test_a_hub_that_is_not_there(
    hub: FakeHub, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        quick(*COMMAND).fails(1, "could not be reached", "check HF_ENDPOINT, which is set")
    assert quick(*COMMAND, HF_ENDPOINT=hub.endpoint).code == 0


def test_a_cache_that_cannot_be_written(
    hub: FakeHub, here: Path, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", constants.HF_HUB_CACHE)

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.snapshot_download", denied)
        quick(*COMMAND).fails(1, "cannot be written", "set HF_HOME to a folder that you can write")
    assert hub.models
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here / "elsewhere"))
    assert quick(*COMMAND).code == 0


def test_a_folder_whose_path_looks_like_a_hub_id(
    hub: FakeHub, here: Path, quick: QuickCommand
) -> None:
    write_checkpoint(here / "models" / "mine-tuned")
    hub.status, hub.headers = 404, {"X-Error-Code": "RepoNotFound"}
    refused = quick("export", "models/mine-tune", *COMMAND[2:])
    match = re.search(r"did you mean the folder (\S+)\? Otherwise check", refused.stderr)
    assert match, refused.stderr
    assert quick("export", match[1], *COMMAND[2:]).code == 0


class TestRepositoriesOfOtherFiles:
    def test_of_gguf(self, hub: FakeHub, here: Path, quick: QuickCommand) -> None:
        folder = here.parent / "gguf"
        folder.mkdir()
        (folder / "Qwen3-0.6B-Q8_0.gguf").write_bytes(b"GGUF")
        hub.models["Qwen/Qwen3-0.6B-GGUF"] = folder
        refused = quick("export", "Qwen/Qwen3-0.6B-GGUF", "--target", "intel-cpu")
        refused.fails(2, "Qwen/Qwen3-0.6B-GGUF: not a checkpoint: GGUF files")
        assert quick("plan", refused.stderr.split()[-1], "--target", "intel-cpu").code == 0

    def test_of_a_checkpoint_in_a_folder_below(
        self, hub: FakeHub, here: Path, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_checkpoint(here.parent / "nested" / "hf")
        hub.models["someone/nested"] = here.parent / "nested"
        refused = quick("export", "someone/nested", "--target", "intel-cpu")
        match = re.search(r"fix: (hf download .*), and give (\S+)", refused.stderr)
        assert match, refused.stderr
        monkeypatch.chdir(here)
        _hf(match[1], hub)
        assert quick("plan", match[2], "--target", "intel-cpu").code == 0

    def test_of_a_revision(
        self, hub: FakeHub, here: Path, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused = quick("export", f"{MODEL}@main2", "--target", "intel-cpu")
        match = re.search(r"fix: (hf download .*), and give (\S+)", refused.stderr)
        assert match, refused.stderr
        monkeypatch.chdir(here)
        _hf(match[1], hub)
        assert quick("plan", match[2], "--target", "intel-cpu").code == 0


def _hf(command: str, hub: FakeHub) -> None:
    """Run a command line of the hub's own tool against the hub of the test."""
    here = Path(sys.executable).parent
    program = shutil.which("hf", path=os.pathsep.join([str(here), os.environ["PATH"]]))
    assert program
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint}
    subprocess.run([program, *command.split()[1:]], env=environment, check=True, timeout=60)
