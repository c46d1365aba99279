"""Model folders: building a model from its config, writing and reading its files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tools.nano.configs import CONFIGS, GENERATION


def build(name: str, seed: int) -> PreTrainedModel:
    """A randomly initialized float32 model of this name."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**CONFIGS[name])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def upcycle(dense: PreTrainedModel, name: str, seed: int) -> PreTrainedModel:
    """A mixture-of-experts model that starts from a trained dense one (sparse upcycling).

    Attention, norms and embeddings carry the copying and counting that takes longest to learn, and
    have the same shapes. Each expert takes one slice of the dense feed-forward, over again from
    the first where there are more experts than slices; the router starts random.
    """
    model = build(name, seed)
    known = dense.state_dict()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            layer, is_expert, kind = key.partition(".experts.")
            if is_expert:
                weight.copy_(_experts(known, layer, kind, weight.shape))
            elif key in known:
                weight.copy_(known[key])
    return model


def _experts(known: dict[str, Tensor], layer: str, kind: str, shape: torch.Size) -> Tensor:
    """Slices of a dense layer: gate_up_proj [E, 2 * width, H], down_proj [E, H, width]."""
    gate, up, down = (known[f"{layer}.{part}_proj.weight"] for part in ("gate", "up", "down"))
    width = shape[1] // 2 if kind == "gate_up_proj" else shape[2]
    slices = gate.shape[0] // width
    experts = []
    for expert in range(shape[0]):
        rows = slice(expert % slices * width, (expert % slices + 1) * width)
        # Routing weights sum to one: without the factor a token would keep, on average, only one
        # slice's share of the dense layer's output.
        both = torch.cat((gate[rows], up[rows]))
        experts.append(both if kind == "gate_up_proj" else down[:, rows] * slices)
    return torch.stack(experts)


def load(folder: Path) -> PreTrainedModel:
    """The model of a folder in float32 (upcast from the stored bf16), ready for inference."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def save(model: PreTrainedModel, name: str, folder: Path) -> None:
    """Write config, generation config and bf16 weights in the published layout."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", CONFIGS[name])
    _write_json(folder / "generation_config.json", GENERATION)
    with tempfile.TemporaryDirectory() as scratch:
        # save_pretrained splits the fused experts into the published one-tensor-per-matrix layout.
        model.save_pretrained(scratch)
        tensors = load_file(Path(scratch) / "model.safetensors")
    bf16 = {key: tensor.to(torch.bfloat16) for key, tensor in tensors.items()}
    write_tensors(bf16, folder / "model.safetensors", {"format": "pt"})


def write_tensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all, readable by everyone."""
    part = file.with_suffix(".part")
    save_file(tensors, part, metadata)
    part.chmod(0o644)
    part.replace(file)


def _write_json(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps(dict(sorted(data.items())), indent=2) + "\n", encoding="utf-8")
