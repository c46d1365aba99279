"""Names of models, and errors of the hub."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from qdeploy import models
from qdeploy.checkpoint import hub
from qdeploy.checkpoint.hub_errors import explain
from qdeploy.checkpoint.recognition.model_names import locate
from qdeploy.errors import CheckpointError, HubError
from tests.support.checkpoints import write_checkpoint

Answer = Callable[..., str]


def _error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    """Create an error of the hub without an HTTP response."""
    error = kind.__new__(kind)
    Exception.__init__(error, "from the hub")
    return error


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Replace the hub's download function."""
    return lambda answer: monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)


@pytest.fixture(autouse=True)
def _no_hub(answer_with: Callable[[Answer], None]) -> None:
    def refuse(*arguments: Any, **_: Any) -> str:
        raise AssertionError(f"asked the hub for {arguments}")

    answer_with(refuse)


@pytest.mark.parametrize("name", models.EMBEDDED)
def test_embedded_models_need_no_network(name: str) -> None:
    assert hub.resolve(name).name == name


def test_a_folder_has_its_own_name(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "my-model")
    assert hub.resolve(str(folder)).name == "my-model"


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_folder_whose_name_is_not_text_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / os.fsdecode(b"nu\xff"))
    with pytest.raises(CheckpointError, match="not UTF-8 text") as caught:
        hub.resolve(str(folder))
    assert (caught.value.where, caught.value.fix) == (str(folder), "rename it")


def test_an_unreadable_folder_is_not_taken_for_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "stat", denied)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied"):
        locate("locked/model")


def test_a_file_is_refused_with_the_folder_as_fix(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="a file, not a checkpoint directory"):
        hub.resolve(str(folder / "model.safetensors"))


@pytest.mark.parametrize(
    "name",
    ["", ".", "./nowhere", "/nowhere", "no such model", "a/b/c", "-x/y", "a/../b", "x" * 5000],
)
def test_invalid_hub_ids_are_not_sent_to_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        hub.resolve(name)


def test_a_misspelt_embedded_model_is_suggested() -> None:
    with pytest.raises(CheckpointError, match="is called 'qwen3-nono'") as caught:
        hub.resolve("qwen3-nono")
    assert caught.value.fix == "did you mean 'qwen3-nano'?"


def test_a_hub_id_is_downloaded_without_code_or_pickles(
    answer_with: Callable[[Answer], None], tmp_path: Path
) -> None:
    asked: list[Any] = []

    def download(hub_id: str, *, allow_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        return str(write_checkpoint(tmp_path))

    answer_with(download)
    assert hub.resolve("Qwen/Qwen3-0.6B").name == "Qwen/Qwen3-0.6B"
    [(hub_id, patterns)] = asked
    assert hub_id == "Qwen/Qwen3-0.6B"
    assert not [p for p in patterns if p.endswith((".bin", ".pt", ".py", "*"))]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (_error(RepositoryNotFoundError), CheckpointError, "no such model on the hub"),
        (_error(GatedRepoError), CheckpointError, "accept this model's terms"),
        (_error(HfHubHTTPError), HubError, "could not be reached"),
        (ConnectionError("refused"), HubError, "could not be reached"),
        (OSError(errno.ENOSPC, "No space left on device"), HubError, "the disk is full"),
        (HFValidationError("cannot have '--'"), CheckpointError, "cannot have '--'"),
        (TimeoutError("too slow"), HubError, "could not be reached"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_of_the_hub_have_a_fix(
    error: Exception, kind: type[Exception], says: str, answer_with: Callable[[Answer], None]
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    answer_with(fail)
    with pytest.raises(kind, match=says) as caught:
        hub.resolve("Qwen/Qwen3-0.6B")
    assert isinstance(caught.value, CheckpointError | HubError)
    assert caught.value.where == "Qwen/Qwen3-0.6B"


class TestNetwork:
    """What keeps a machine from the hub is in the chain of causes, by the names of the library's
    errors, which differ between its releases.
    """

    @staticmethod
    def chain(*errors: Exception) -> Exception:
        for error, cause in itertools.pairwise(errors):
            error.__cause__ = cause
        return errors[0]

    def test_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        proxy = type("ProxyError", (Exception,), {})
        monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy:3128")
        told = explain("a/b", self.chain(proxy("407 Proxy Authentication Required")))
        assert "the proxy does not let" in told.what
        assert "correct or unset HTTPS_PROXY" in str(told.fix)
        assert "password" not in str(told)

    def test_a_certificate(self) -> None:
        error = ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
        told = explain("a/b", self.chain(OSError("offline"), error))
        assert "certificate" in told.what
        assert "SSL_CERT_FILE" in str(told.fix)

    def test_the_root_of_the_matter_is_named(self) -> None:
        lost = type("LocalEntryNotFoundError", (FileNotFoundError,), {})
        told = explain("a/b", self.chain(lost("not here"), TimeoutError("slow")))
        assert told.what == "the model hub could not be reached (TimeoutError)"

    def test_a_ring_of_causes_ends(self) -> None:
        one, other = ValueError("1"), ValueError("2")
        one.__cause__, other.__cause__ = other, one
        assert "ValueError" in explain("a/b", one).what
