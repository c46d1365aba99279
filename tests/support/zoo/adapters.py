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
    Case("experts, router", _lora(base.sparse, target_modules=[*ATTENTION, "mlp.gate"])),
    Case("fused experts", _lora(base.sparse, target_parameters=FUSED)),
    Case("fused experts, down alone", _lora(base.sparse, target_parameters=FUSED[1:])),
    Case("experts by names of version 4", _lora(base.sparse, target_modules=LINEAR)),
    Case("untied head", _lora(target_modules=[*ATTENTION, "lm_head"])),
    Case("untied embedding", _lora(target_modules=[*ATTENTION, "embed_tokens"])),
    Case("embedding and head", _lora(target_modules=[*ATTENTION, "embed_tokens", "lm_head"])),
    Case("tied embedding", _lora(model=TIED, target_modules=[*ATTENTION, "embed_tokens"]),
         refusal=("model.embed_tokens alone, which config.json ties", "untie the model")),
    Case("tied head", _lora(model=TIED, target_modules=[*ATTENTION, "lm_head"]),
         refusal=("lm_head alone, which config.json ties", "untie the model")),
    Case("whole head", _lora(modules_to_save=["lm_head"])),
    Case("whole embedding and head", _lora(modules_to_save=["embed_tokens", "lm_head"])),
    Case("whole embedding of a tied model", _lora(model=TIED, modules_to_save=["embed_tokens"]),
         warns=(APART,)),
    Case("whole norms", _lora(modules_to_save=["input_layernorm", "q_norm"])),
    Case("all norms by one name", _lora(modules_to_save=["norm"])),
    Case("a larger vocabulary", _lora(rows=2050, modules_to_save=["embed_tokens", "lm_head"],
                                      change=_with_one_more_token),
         warns=(ADDED,)),
    Case("a larger tied vocabulary", _lora(model=TIED, rows=2050, modules_to_save=["embed_tokens"],
                                           change=_with_one_more_token),
         warns=(APART, ADDED)),
    Case("a few tokens", _lora(trainable_token_indices={"embed_tokens": [5, 2024]})),
    Case("DoRA", _lora(use_dora=True)),
    Case("DoRA on all linear layers", _lora(use_dora=True, target_modules=LINEAR)),
    Case("biases", _lora(bias="lora_only")),
    Case("biases of the adapter", _lora(lora_bias=True), refusal=("lora_bias", "without it")),
    Case("names with the adapter's", _lora(change=_renamed(r"lora_(.)\.", r"lora_\1.default."))),
    Case("names without the prefix", _lora(change=_renamed(r"^base_model\.model\.", ""))),
    Case("names of torch.compile", _lora(
        change=_renamed(r"^base_model\.model\.", "base_model.model._orig_mod."))),
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
    Case("more tensors than targets", _lora(change=_configured(target_modules=ATTENTION[:2])),
         warns=("does not adapt",)),
    Case("another rank", _lora(change=_configured(r=8)),
         refusal=("has rank 4, and adapter_config.json says r 8", "same training run")),
    Case("no LoRA", _other_kind, refusal=("IA3",)),
)  # fmt: skip
