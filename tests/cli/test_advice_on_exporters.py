"""An exporter that cannot take a model: what is advised instead is something that can."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import SMALL, write_checkpoint, write_weights
from tests.support.command import QuickCommand, Result

GEMMA = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}
PROPERTY = re.compile(r"fix: ((?:--\w+ \S+ ?)+)can$|fix: (leave out --exporter)$")


def followed(refused: Result, arguments: list[str], quick: QuickCommand) -> Result:
    """Run the command again with the options that the fix names."""
    match = PROPERTY.search(refused.stderr)
    assert match, refused.stderr
    changes = shlex.split(match[1] or "")
    changed = [*changes[::2], *(["--exporter"] if match[2] else [])]
    kept: list[str] = []
    options = iter(arguments)
    for word in options:
        if word in changed:
            next(options)
        else:
            kept.append(word)
    return quick(*kept, *changes)


def spoil(folder: Path, **config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(SMALL | config), encoding="utf-8")


@pytest.mark.parametrize("target", ["intel-cpu", "cpu", "cuda", "ascend", "intel-npu"])
@pytest.mark.parametrize(
    ("config", "says"),
    [
        (GEMMA, "unknown architecture GemmaForCausalLM"),
        ({"hidden_act": "gelu"}, "its activation is 'gelu'"),
    ],
    ids=["family", "activation"],
)
def test_another_family(
    config: dict[str, Any], says: str, target: str, here: Path, quick: QuickCommand
) -> None:
    folder = write_checkpoint(here / "model", SMALL | config)
    if config is GEMMA:
        write_weights(folder / "model.safetensors", {"something.else": (4, 4)})
    arguments = ["export", "model", "--target", target, "--dry-run"]
    refused = quick(*arguments)
    refused.fails(2, says)
    done = followed(refused, arguments, quick)
    assert done.code == 0, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--target", "cuda", "--exporter", "optimum"],
        ["--target", "cpu", "--profile", "cpu-int4", "--exporter", "optimum"],
        ["--target", "intel-cpu", "--profile", "intel-cpu-int4", "--exporter", "optimum",
         "--adapter", "adapter"],
    ],
)  # fmt: skip
def test_an_exporter_that_was_named(
    options: list[str], model: Path, adapter: Path, quick: QuickCommand
) -> None:
    arguments = ["export", model.name, *options, "--dry-run"]
    refused = quick(*arguments)
    refused.fails(2, "exporter 'optimum' cannot do this")
    assert adapter
    done = followed(refused, arguments, quick)
    assert done.code == 0, done.stderr


def test_a_model_that_no_exporter_takes(model: Path, quick: QuickCommand) -> None:
    spoil(model, architectures=["BertForMaskedLM"])
    quick("export", "model", "--target", "cpu").fails(2, "no installed exporter takes this model")
    spoil(model, architectures=["BertForMaskedLM"], hidden_act="gelu")
    quick("export", "model", "--target", "intel-cpu", "--exporter", "optimum").fails(
        2, "BertForMaskedLM is not a causal language model"
    )
