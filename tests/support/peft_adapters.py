"""Adapters that PEFT makes and merges: what merged weights and logits have to be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TRAINED = ("lora_", "trainable_tokens_delta", "modules_to_save")


def load(folder: Path, **options: Any) -> Any:
    """The model in *folder* as transformers has it in float32."""
    import torch
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager",
            experts_implementation="eager", **options,
        ).eval()  # fmt: skip


def train(
    base: Path, folder: Path, *, rank: int = 4, rows: int | None = None, **settings: Any
) -> Path:
    """Save an adapter of the model in *base* with random trained tensors, and return its folder.

    *rows* resizes the vocabulary first. *settings* are those of `LoraConfig`.
    """
    import peft
    import torch

    torch.manual_seed(rank)
    model = load(base)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=6, **settings))
        with torch.no_grad():
            for name, values in made.named_parameters():
                if any(part in name for part in TRAINED):
                    values += 0.2 * torch.randn_like(values)
        made.save_pretrained(folder)
    return folder


def merged(base: Path, adapter: Path, *, rows: int | None = None) -> Any:
    """The model with the adapter, as PEFT merges it in float32."""
    import peft

    model = load(base)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)


def weights_of(model: Any) -> dict[str, Floats]:
    """The weights of a model by the names of checkpoints: experts are a matrix each."""
    found: dict[str, Floats] = {}
    for name, values in model.state_dict().items():
        array = values.float().numpy()
        stack, _, kind = name.rpartition(".")
        if not stack.endswith(".experts"):
            found[name] = array
            continue
        for number, expert in enumerate(array):
            projections = np.split(expert, 2) if kind == "gate_up_proj" else [expert]
            names = ("gate_proj", "up_proj") if kind == "gate_up_proj" else ("down_proj",)
            found |= {
                f"{stack}.{number}.{projection}.weight": matrix
                for projection, matrix in zip(names, projections, strict=True)
            }
    if model.config.tie_word_embeddings:
        del found["lm_head.weight"]
    return found


def logits_of(model: Any, ids: Sequence[int]) -> Floats:
    import torch

    with torch.inference_mode():
        values: Floats = model(torch.tensor([list(ids)])).logits[0].float().numpy()
    return values


def divergence(wanted: Floats, found: Floats) -> float:
    """Mean KL divergence of tokens in nats, computed in float64."""
    p, q = (_log_softmax(values.astype(np.float64)) for values in (wanted, found))
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def difference(wanted: Mapping[str, Floats], found: Mapping[str, Floats]) -> float:
    """Largest difference of any weight, relative to the largest value in it."""
    assert wanted.keys() == found.keys()
    return max(
        float(np.abs(values - found[name]).max() / np.abs(values).max())
        for name, values in wanted.items()
    )


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = x - x.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
