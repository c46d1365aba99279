"""`qdeploy verify --against`: the same as transformers, or what differs first."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from qdeploy.forward.forward import Value
from qdeploy.tokenization.tokenizer import Message, Tokenizer
from qdeploy.verification import verification
from qdeploy.verification.float_model import Recorder
from tests.support.command import QuickCommand
from tests.support.tiny import DENSE, write

torch = pytest.importorskip("torch", reason="needs qdeploy[verify]")
pytest.importorskip("transformers", reason="needs qdeploy[verify]")
pytest.importorskip("onnxruntime", reason="needs qdeploy[onnx]")

VERIFY = ("verify", "bundle", "--against", "model")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> QuickCommand:
    """The command in a folder with a checkpoint and its bundle."""
    folder = tmp_path_factory.mktemp("verified")
    write(folder / "model", DENSE)
    write(folder / "other", DENSE, seed=1)
    command = QuickCommand(folder, folder / "no plugins")
    done = command("export", "model", "--target", "cpu", "--profile", "cpu-int8", "-o", "bundle")
    assert done.code == 0, done.stderr
    return command


def test_the_same_is_exit_code_0_with_a_row_for_every_comparison(quick: QuickCommand) -> None:
    done = quick(*VERIFY)
    assert done.code == 0, done.stderr
    for words in ("rendered chats", "stop tokens", "hidden states", "on cpu"):
        assert words in done.stdout
    found = quick(*VERIFY, "--json").json
    assert found["ok"]
    assert {check["part"] for check in found["checks"]} == {"text", "float model", "bundle"}
    stages = ["embedding", "layer 0", "layer 1", "layer 2"]
    assert [layer["stage"] for layer in found["layers"]] == stages
    assert all(layer["difference"] < 1e-4 for layer in found["layers"])
    assert "transformers" in found["tools"]


def test_the_first_layer_that_differs_is_named(
    quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Recorder.attention

    def attention(self: Recorder, layer: int, query: Value, key: Value, value: Value) -> Value:
        turned = self.value(query) * 2 if layer == 1 else query
        return right(self, layer, turned, key, value)

    monkeypatch.setattr(Recorder, "attention", attention)
    done = quick(*VERIFY, "--json")
    assert done.code == 4
    assert "hidden states: layer 1 is the first that differs" in done.stderr
    differences = [layer["difference"] for layer in done.json["layers"]]
    assert max(differences[:2]) < 1e-4 < differences[2]


def test_a_chat_that_is_rendered_otherwise_is_shown_where_it_differs(
    quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Tokenizer.render

    def render(
        self: Tokenizer, messages: Sequence[Message], *, thinking: bool | None = None
    ) -> str:
        return right(self, messages, thinking=thinking).replace("helpful", "rude")

    monkeypatch.setattr(Tokenizer, "render", render)
    done = quick(*VERIFY)
    assert done.code == 4
    assert "rendered chats: system: from character" in done.stderr
    assert "a rude assistant" in done.stderr


def test_stop_tokens_that_differ_are_named(
    quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tokenizer, "stop_ids", frozenset({2024}))
    done = quick(*VERIFY)
    assert done.code == 4
    assert "the bundle does not stop at 2022 ('<|endoftext|>')" in done.stderr


def test_a_checkpoint_that_the_bundle_was_not_made_from_is_refused(quick: QuickCommand) -> None:
    quick("verify", "bundle", "--against", "other").fails(
        2, "other: not the checkpoint that the bundle was made from", "fix: give that one"
    )


def test_one_that_does_not_fit_into_memory_is_refused_with_another_way(
    quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "usable_memory_bytes", lambda: 1000)
    quick(*VERIFY).fails(2, "this machine has 1.0 kB", "qdeploy eval")


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_without_the_libraries_it_says_what_to_install(
    quick: QuickCommand, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    quick(*VERIFY).fails(3, f"{library} cannot be imported", "pip install 'qdeploy[verify]'")
    assert quick("verify", "bundle").code == 0


def test_options_of_the_comparison_need_it(quick: QuickCommand) -> None:
    quick("verify", "bundle", "--threads", "1").fails(2, "--threads goes with --against")
    quick("verify", "bundle", "--device", "0").fails(2, "--device goes with --against")
