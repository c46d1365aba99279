"""The plan refuses a checkpoint that could not be exported, or not be run afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support import tiny
from tests.support.checkpoints import MOE, SMALL, shapes, write_checkpoint, write_weights
from tests.support.command import QuickCommand
from tests.support.tiny import DENSE, SPARSE

TARGETS = ["intel-cpu", "cpu"]
Spoil = Callable[[Path], None]


def changed(name: str, *path: str | int, **changes: Any) -> Spoil:
    """Change keys of a JSON file, in the object at *path*."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_bytes())
        inner = content
        for step in path:
            inner = inner[step]
        inner.update(changes)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return spoil


def written(name: str, text: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return spoil


def config(**changes: Any) -> Spoil:
    return changed("config.json", **changes)


def generation(**changes: Any) -> Spoil:
    return changed("generation_config.json", **changes)


def settings(**changes: Any) -> Spoil:
    return changed("tokenizer_config.json", **changes)


def no_pattern(folder: Path) -> None:
    """Split words by what is no regular expression, in a file that is taken as it is."""
    settings(tokenizer_class="PreTrainedTokenizerFast")(folder)
    changed("tokenizer.json", "pre_tokenizer", "pretokenizers", 0, "pattern", Regex="(")(folder)


def vocab(**ids: Any) -> Spoil:
    return changed("tokenizer.json", "model", "vocab", **ids)


def weights(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change the names and shapes of the tensors."""

    def spoil(folder: Path) -> None:
        tensors: dict[str, Any] = dict(shapes(SMALL))
        change(tensors)
        write_weights(folder / "model.safetensors", tensors)

    return spoil


def stopping_at(ids: object) -> Spoil:
    return generation(eos_token_id=ids)


def one_merge_more(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_bytes())
    content["model"]["merges"].append(["qqqq", "zzzz"])
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def renamed_norm(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.norm.weight"] = tensors.pop("model.norm.weight")


def quantized(folder: Path) -> None:
    config(quantization_config={"quant_method": "hqq"})(folder)
    weights(lambda t: t.update({"model.layers.0.mlp.up_proj.W_q": (4, 4)}))(folder)


SPOILT: list[tuple[Spoil, list[str]]] = [
    (config(rms_norm_eps=None), ["config.json", "'rms_norm_eps'"]),
    (config(rope_theta=-1), ["config.json", "'rope_theta'"]),
    (config(**MOE, norm_topk_prob="false"), ["config.json", "'norm_topk_prob'"]),
    (config(num_attention_heads=3), ["3 attention heads cannot share 2 evenly"]),
    (config(head_dim=127), ["heads of 127 elements"]),
    (config(rope_scaling={"rope_type": "yarn", "factor": "4"}), ["'rope_scaling.factor'"]),
    (config(rope_parameters=["a"]), ["'rope_parameters'"]),
    (config(num_hidden_layers=2**31 - 1), ["it asks for 2147483647 layers"]),
    (quantized, ["quantized already, by 'hqq'", "fix: give the float checkpoint"]),
    (weights(renamed_norm), ["1 missing: model.norm.weight", "1 unexpected: model.layers.0.norm"]),
    (weights(lambda t: t.clear()), ["it asks for 2 layers and experts; there are 0 tensors"]),
    (weights(lambda t: t.update({"model.norm.weight": (7,)})), ["norm.weight [7], not [256]"]),
    (weights(lambda t: t.update({"model.layers.0.k_scale": ()})), ["unexpected: model.layers.0.k"]),
    (written("tokenizer.json", "{}"), ["tokenizer.json: not a tokenizer", "fix: take"]),
    (written("tokenizer.json", "{"), ["tokenizer.json: not valid JSON"]),
    (changed("tokenizer.json", model=None), ["tokenizer.json: not a tokenizer"]),
    (changed("tokenizer.json", added_tokens=["x"]), ["tokenizer.json: not a tokenizer"]),
    (settings(extra_special_tokens=["<new>"], chat_template="{{ messages[0].content }}<new>"),
     ["'<new>' has the id 2048; the model knows 2048"]),
    (settings(added_tokens_decoder=[]), ["tokenizer.json: not a tokenizer"]),
    (settings(added_tokens_decoder={"x": {}}), ["tokenizer.json: not a tokenizer"]),
    (no_pattern, ["tokenizer.json: not a tokenizer"]),
    (one_merge_more, ["its merge ['qqqq', 'zzzz'] is not of two"]),
    (vocab(foo="a"), ["token 'foo' has the id 'a'"]),
    (vocab(foo=4_000_000_000), ["token 'foo' has the id 4000000000"]),
    (vocab(foo=-5), ["token 'foo' has the id -5"]),
    (vocab(foo=2048), ["token 'foo' has the id 2048; the model knows 2048 tokens"]),
    (written("tokenizer_config.json", "["), ["tokenizer_config.json: not valid JSON"]),
    (written("generation_config.json", "{"), ["generation_config.json: not valid JSON"]),
    (stopping_at("2024"), ["generation_config.json: eos_token_id"]),
    (stopping_at([5, 999_999_999]), ["eos_token_id: 999999999; the vocabulary has 2048"]),
    (generation(temperature="hot"), ["generation_config.json: temperature", "fix: correct temp"]),
    (settings(chat_template=[{"name": "rag"}]),
     ["tokenizer_config.json: 'chat_template' is neither", "fix: add chat_template.jinja"]),
    (settings(chat_template=5), ["'chat_template' is neither text"]),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), SPOILT, ids=[says[-1] for _, says in SPOILT])
def test_what_could_not_be_exported_is_not_planned_either(
    spoil: Spoil, says: list[str], model: Path, quick: QuickCommand
) -> None:
    spoil(model)
    for target in TARGETS:
        quick("export", "model", "--target", target, "--dry-run").fails(2, "error: ", *says)
    quick("plan", "model").fails(2, "error: ", *says)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("settings", "shape", "says"),
    [
        ({"r": 0}, (2, 256), ["'r'"]),
        ({"peft_type": "IA3"}, (2, 256), ["of type 'IA3'", "fix: merge it with PEFT"]),
        ({}, (2, 255), ["is [2, 255], not [2, 256]", "fix: use it with the model"]),
        (None, (2, 256), ["adapter_config.json", "not a JSON object"]),
    ],
)
def test_an_adapter_that_does_not_fit(
    target: str,
    settings: dict[str, Any] | None,
    shape: tuple[int, int],
    says: list[str],
    model: Path,
    quick: QuickCommand,
) -> None:
    adapter = model.parent / "adapter"
    adapter.mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight".format
    halves = {name("A"): np.ones(shape, np.float32), name("B"): np.ones((512, 2), np.float32)}
    save_file(halves, adapter / "adapter_model.safetensors")
    whole = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, **(settings or {})}
    text = json.dumps([] if settings is None else whole)
    (adapter / "adapter_config.json").write_text(text, encoding="utf-8")
    quick("export", "model", "--target", target, "--dry-run", "--adapter", "adapter").fails(
        2, "error: ", *says
    )


def test_another_architecture_may_have_any_tensors_and_token_ids(
    here: Path, quick: QuickCommand
) -> None:
    other = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}
    folder = write_checkpoint(here / "gemma", SMALL | other)
    write_weights(folder / "model.safetensors", {"something.else": (4, 4)})
    vocab(foo=2048)(folder)
    command = ["export", "gemma", "--target", "intel-cpu", "--dry-run"]
    assert quick(*command, "--exporter", "optimum").code == 0
    quick(*command).fails(2, "unknown architecture GemmaForCausalLM", "--exporter optimum")


@pytest.mark.parametrize(
    ("checkpoint", "says", "section", "line"),
    [
        (DENSE | {"hidden_size": 50},
         ["rows of 50, which no block divides", 'set weights.embedding = { dtype = "fp16" } in'],
         "weights.embedding", 'dtype = "fp16"'),
        (SPARSE,
         ["several sizes or forms, and QMoE takes one", 'set graph.experts = "unrolled" in'],
         "graph", 'experts = "unrolled"'),
    ],
    ids=["odd", "experts"],
)  # fmt: skip
def test_a_shape_that_a_format_does_not_take_is_refused_with_the_profiles_key(
    checkpoint: dict[str, Any],
    says: list[str],
    section: str,
    line: str,
    here: Path,
    quick: QuickCommand,
) -> None:
    tiny.write(here / "model", checkpoint)
    command = ["export", "model", "--target", "cpu", "--dry-run"]
    quick(*command).fails(2, *says)
    text = quick("profiles", "show", "cpu-int4").stdout
    before, _, rest = text.partition(f"[{section}]\n")
    after = rest[rest.index("\n[") :]
    mine = f"{before}[{section}]\n{line}\n{after}"
    (here / "mine.toml").write_text(mine, encoding="utf-8")
    assert quick(*command, "--profile", "mine.toml").code == 0


class TestChatTemplate:
    def test_that_is_missing_is_warned_of_and_asked_for(
        self, model: Path, scripted_toml: Path, quick: QuickCommand
    ) -> None:
        changed("tokenizer_config.json", chat_template=None)(model)
        assert "no chat template" in quick("plan", "model", "--target", "cpu").stdout
        made = quick("export", "model", "--target", "scripted", "--profile", scripted_toml.name,
                     "-o", "out")  # fmt: skip
        assert made.code == 0
        assert "warning: the checkpoint has no chat template" in " ".join(made.stderr.split())
        quick("run", "out", "hi").fails(
            2, "no chat template", "add chat_template.jinja to the checkpoint, and export it again"
        )

    def test_that_cannot_be_read_is_warned_of(self, model: Path, quick: QuickCommand) -> None:
        (model / "chat_template.jinja").write_text("{% for message in %}", encoding="utf-8")
        said = " ".join(quick("plan", "model", "--target", "cpu").stdout.split())
        assert "the chat template cannot be read (Expected an expression" in said

    def test_in_a_list_is_the_one_called_default(
        self, model: Path, scripted_toml: Path, quick: QuickCommand
    ) -> None:
        plain = {"name": "default", "template": "{{ messages[0].content }}"}
        other = {"name": "rag", "template": "{{ 1 / 0 }}"}
        changed("tokenizer_config.json", chat_template=[other, plain])(model)
        made = quick("export", "model", "--target", "scripted", "--profile", scripted_toml.name,
                     "-o", "out")  # fmt: skip
        assert "warning" not in made.stderr
        assert quick("run", "out", "hi").code == 0
