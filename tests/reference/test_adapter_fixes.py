"""What refusals of adapters advise: each command is run, and gives the model that was trained."""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import InputError
from tests.support import peft_adapters as reference
from tests.support import tiny
from tests.support.evaluating import logits_of
from tests.support.tiny import DENSE

torch = pytest.importorskip("torch", reason="needs qdeploy[parity]")
peft = pytest.importorskip("peft", reason="needs qdeploy[parity]")

IDS = np.random.default_rng(0).integers(0, 2000, 16).tolist()
COMMAND = re.compile(r'python -c "(?P<code>[^"]+)" (?P<places>[^;]+)')


def run(fix: str | None, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Run the command that *fix* quotes, as a shell would split it, and return its arguments."""
    found = COMMAND.search(fix or "")
    assert found, fix
    _, _, code, *places = shlex.split(found[0])
    monkeypatch.setattr(sys, "argv", ["-c", *places])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {"__name__": "__main__"})  # noqa: S102 - what a user is told to run
    return [Path(place) for place in places]


def refusal(base: Path, adapter: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_checkpoint(base, adapter=adapter)
    return caught.value


def trained(base: Path, adapter: Path, config: Any) -> Any:
    """Logits of a model with an adapter of this config and random values, which is saved."""
    model = reference.load(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peft.get_peft_model(model, config)
        torch.manual_seed(1)
        with torch.no_grad():
            for values in (p for p in made.parameters() if p.requires_grad):
                values += 0.3 * torch.randn_like(values)
        logits = reference.logits_of(made.eval(), IDS)
        made.save_pretrained(adapter)
    return logits


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("IA3Config", {}),
        ("LoHaConfig", {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"]}),
        ("LoraConfig", {"r": 4, "init_lora_weights": "pissa", "target_modules": ["q_proj"]}),
        ("LoraConfig", {"r": 4, "init_lora_weights": "olora", "target_modules": ["q_proj"]}),
    ],
    ids=["IA3", "LoHa", "PiSSA", "OLoRA"],
)  # fmt: skip
def test_peft_merges_what_is_not_merged_here(
    tmp_path: Path, kind: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = tiny.write(tmp_path / "base", DENSE), tmp_path / "an adapter"
    config = getattr(peft, kind)(task_type="CAUSAL_LM", **settings)
    wanted = trained(base, adapter, config)
    *_, made = run(refusal(base, adapter).fix, monkeypatch)
    before = reference.divergence(wanted, logits_of(base, IDS))
    # not zero: the recipe keeps the model's type, bfloat16
    assert reference.divergence(wanted, logits_of(made, IDS)) < 0.05 * before


def test_a_model_is_untied_for_an_adapter_of_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.write(tmp_path / "base", DENSE)
    adapter = reference.train(base, tmp_path / "adapter", target_modules=["lm_head"])
    _, untied = run(refusal(base, adapter).fix, monkeypatch)
    assert np.array_equal(logits_of(untied, IDS), logits_of(base, IDS))
    checkpoint = read_checkpoint(untied, adapter=adapter)
    assert checkpoint.warnings == ()
    assert not checkpoint.config.tie_word_embeddings


def test_pickled_weights_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.write(tmp_path / "base", DENSE)
    adapter = reference.train(base, tmp_path / "adapter", target_modules=["q_proj"])
    stored = adapter / "adapter_model.safetensors"
    from safetensors.torch import load_file

    torch.save(load_file(stored), adapter / "adapter_model.bin")
    original = stored.read_bytes()
    stored.unlink()
    run(refusal(base, adapter).fix, monkeypatch)
    assert len(stored.read_bytes()) >= len(original) - 1000
    read_checkpoint(base, adapter=adapter)
