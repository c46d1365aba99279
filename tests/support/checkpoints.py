"""Checkpoints of any shape: real headers, and sparse files in place of the data."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.checkpoint.weight_files import read_tensors
from qdeploy.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

SMALL: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "vocab_size": 2048,
    "max_position_embeddings": 2048,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}
"""A small config, in which head_dim is not hidden_size / num_attention_heads."""

MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
}


def shape_of_0_6b() -> dict[str, Any]:
    """The config of the published Qwen3-0.6B, as far as qdeploy reads it."""
    return SMALL | {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151936,
        "max_position_embeddings": 40960,
    }  # fmt: skip


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a checkpoint with this config."""
    hidden = config["hidden_size"]
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden)
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        found |= {prefix + name: shape for name, shape in _layer(config)}
    found["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (config["vocab_size"], hidden)
    return found


def _layer(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, head = config["hidden_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    for name, size in {"q": query, "k": key, "v": key}.items():
        yield f"self_attn.{name}_proj.weight", (size, hidden)
        if config["model_type"] == "qwen2":
            yield f"self_attn.{name}_proj.bias", (size,)
    yield "self_attn.o_proj.weight", (hidden, query)
    if config["model_type"].startswith("qwen3"):
        yield "self_attn.q_norm.weight", (head,)
        yield "self_attn.k_norm.weight", (head,)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{norm}.weight", (hidden,)
    if experts := config.get("num_experts"):
        yield "mlp.gate.weight", (experts, hidden)
        for expert in range(experts):
            yield from _mlp(f"mlp.experts.{expert}", hidden, config["moe_intermediate_size"])
    else:
        yield from _mlp("mlp", hidden, config["intermediate_size"])


def _mlp(prefix: str, hidden: int, wide: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{prefix}.gate_proj.weight", (wide, hidden)
    yield f"{prefix}.up_proj.weight", (wide, hidden)
    yield f"{prefix}.down_proj.weight", (hidden, wide)


def header(tensors: Shapes) -> tuple[dict[str, Any], int]:
    """Return the safetensors header of bfloat16 *tensors*, and the size of their data in bytes."""
    entries: dict[str, Any] = {}
    end = 0
    for name, shape in tensors.items():
        start, end = end, end + 2 * prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    return entries, end


def write_header(file: Path, entries: object, data_bytes: int) -> None:
    """Write a sparse safetensors file: its data takes no disk space."""
    text = json.dumps(entries).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + data_bytes)


def write_weights(file: Path, tensors: Shapes) -> None:
    write_header(file, *header(tensors))


def write_sidecars(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`, and the tokenizer and generation config of an embedded model."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in models.path("qwen3-nano").glob("*.json"):
        shutil.copyfile(source, folder / source.name)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_checkpoint(
    folder: Path, config: Mapping[str, Any] = SMALL, *, extra: Shapes | None = None
) -> Path:
    """Write a whole checkpoint of one weight file, with *extra* tensors, and return its folder."""
    write_sidecars(folder, config)
    write_weights(folder / "model.safetensors", shapes(config) | dict(extra or {}))
    return folder


def write_shards(folder: Path, count: int = 2, config: Mapping[str, Any] = SMALL) -> dict[str, str]:
    """Write a sharded checkpoint with its index, and return the index's weight map."""
    write_sidecars(folder, config)
    every = list(shapes(config).items())
    weight_map: dict[str, str] = {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = dict(every[number::count])
        write_weights(folder / file, part)
        weight_map |= dict.fromkeys(part, file)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: object) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def weights_refusal(folder: Path) -> CheckpointError:
    """The error of reading the headers of the weight files in *folder*."""
    with pytest.raises(CheckpointError) as caught:
        read_tensors(folder)
    return caught.value
