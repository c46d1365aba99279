"""Adapters as PEFT and trainers save them, on models that it merges them into."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.zoo import base
from tests.support.zoo.case import ADAPTER, MODEL, Case, Make

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
FUSED = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def _lora(
    write: Callable[..., Path] = base.dense,
    change: Callable[[Path], object] = lambda adapter: None,
    model: dict[str, Any] | None = None,
    rows: int | None = None,
    **settings: Any,
) -> Make:
    """An adapter with random values.

    Args:
        write: writes the base model.
        change: does something to the adapter's folder.
        model: config of the base model.
        rows: resize its vocabulary to so many tokens.
        settings: of `LoraConfig`.
    """

    def make(folder: Path) -> None:
        write(folder / MODEL, **(model or {}))
        _train(folder, rows, {"target_modules": ATTENTION} | settings)
        change(folder / ADAPTER)

    return make


def _train(folder: Path, rows: int | None, settings: dict[str, Any]) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from qdeploy.verification.libraries import quiet

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_pretrained(folder / MODEL, dtype=torch.float32)
        if rows:
            model.resize_token_embeddings(rows, mean_resizing=False)
        config = LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"} | settings)
        tuned = get_peft_model(model, config)
        for name, weight in tuned.named_parameters():
            if weight.requires_grad:
                scale = 0.05 if "lora_magnitude" not in name else 0.01
                weight.data += scale * torch.randn_like(weight)
        tuned.save_pretrained(folder / ADAPTER)


def _renamed(pattern: str, replacement: str) -> Callable[[Path], None]:
    def change(adapter: Path) -> None:
        tensors = base.read(adapter, WEIGHTS)
        named = {re.sub(pattern, replacement, name): t for name, t in tensors.items()}
        assert named.keys() != tensors.keys()
        base.store(adapter, named, WEIGHTS)

    return change


def _configured(**changes: Any) -> Callable[[Path], None]:
    return lambda adapter: base.edit(adapter / CONFIG, **changes)


def _with_tokenizer(**settings: Any) -> Callable[[Path], None]:
    """The base's tokenizer beside the adapter, as trainers save it, with other settings."""

    def change(adapter: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(adapter.parent / MODEL / name, adapter)
        base.edit(adapter / "tokenizer_config.json", **settings)

    return change


def _with_one_more_token(adapter: Path) -> None:
    """A tokenizer with a token that the base does not have, for an embedding with its row."""
    _with_tokenizer()(adapter)
    token = {
        "content": "<|extra|>", "lstrip": False, "normalized": False, "rstrip": False,
        "single_word": False, "special": True,
    }  # fmt: skip
    file = adapter / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["added_tokens"].append({"id": 2048, **token})
    base.write_json(file, content)
    settings = adapter / "tokenizer_config.json"
    known = json.loads(settings.read_text(encoding="utf-8"))["added_tokens_decoder"]
    base.edit(settings, added_tokens_decoder=known | {"2048": token}, extra_special_tokens=None)


def _other_kind(folder: Path) -> None:
    """An adapter that is no LoRA."""
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForCausalLM

    from qdeploy.verification.libraries import quiet

    base.dense(folder / MODEL)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder / MODEL)
        get_peft_model(model, IA3Config(task_type="CAUSAL_LM")).save_pretrained(folder / ADAPTER)


def _template_alone(adapter: Path) -> None:
    (adapter / "chat_template.jinja").write_text(OTHER_TEMPLATE, encoding="utf-8")


OTHER_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    "<|im_start|>assistant: "
)
END_OF_TEXT = "<|endoftext|>"
APART = "trained embedding and lm_head apart, which config.json ties"
ADDED = "tokenizer differs from the model's in added tokens"
TIED = {"tie_word_embeddings": True}

CASES = (
    Case("attention", _lora()),
    Case("all linear layers", _lora(target_modules="all-linear")),
    Case("by pattern", _lora(target_modules=r".*layers\.1\..*(q|v)_proj")),
    Case("one layer", _lora(layers_to_transform=[1])),
    Case("rank-stabilized", _lora(use_rslora=True)),
    Case("ranks by pattern", _lora(rank_pattern={"q_proj": 2}, alpha_pattern={"layers.0": 3})),
    Case("tied base", _lora(model=TIED, target_modules=LINEAR)),
    Case("experts, attention", _lora(base.sparse)),
    Case("another base", _lora(change=_configured(base_model_name_or_path="Qwen/Qwen3-8B")),
         warns=("trained on Qwen/Qwen3-8B",)),
    Case("no base", _lora(change=_configured(base_model_name_or_path=None))),
    Case("the base's tokenizer", _lora(change=_with_tokenizer())),
    Case("another template", _lora(change=_with_tokenizer(chat_template=OTHER_TEMPLATE)),
         warns=("the adapter's chat template differs",)),
    Case("another template alone", _lora(change=_template_alone),
         warns=("the adapter's chat template differs",)),
    Case("another end of turn", _lora(change=_with_tokenizer(eos_token=END_OF_TEXT)),
         warns=("tokenizer differs from the model's in eos_token",)),
    Case("no LoRA", _other_kind, refusal=("IA3",)),
)  # fmt: skip
