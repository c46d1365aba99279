"""Small Qwen3 models with random weights, as transformers makes them and as the hub has them.

torch and transformers are imported when a model is made, so that the table of cases can be read
without them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy import models
from tests.support.zoo.case import MODEL, Make

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

DENSE: dict[str, Any] = {
    "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "max_position_embeddings": 2048, "tie_word_embeddings": False, "initializer_range": 0.1,
    "eos_token_id": 2024, "bos_token_id": 2022,
}  # fmt: skip
"""Here head_dim is not hidden_size / num_attention_heads, as in Qwen3-0.6B."""
SPARSE: dict[str, Any] = DENSE | {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128,
    "norm_topk_prob": True,
}  # fmt: skip
WEIGHTS = "model.safetensors"
PUBLISHED_NAMES = {"dtype": "torch_dtype", "num_local_experts": "num_experts"}
"""Names in `config.json` of transformers 5, and those of transformers 4, which the hub has."""


def dense(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a dense model as the hub has it, and return its folder."""
    return _write(folder, "Qwen3", DENSE | changes, seed)


def sparse(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a mixture-of-experts model as the hub has it, and return its folder."""
    return _write(folder, "Qwen3Moe", SPARSE | changes, seed)


def make_model(family: str, config: Mapping[str, Any], seed: int = 0) -> Any:
    """A model of transformers with random weights in bfloat16; its norms are not all one."""
    import torch
    import transformers

    made = getattr(transformers, f"{family}Config")(**config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}ForCausalLM")(made)
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.data += torch.randn_like(weight) / 8
    return model.to(torch.bfloat16)


def save(model: Any, folder: Path, **options: Any) -> Path:
    """Save a model as transformers does, with the tokenizer of an embedded model."""
    folder.mkdir(parents=True, exist_ok=True)
    with redirect_stderr(StringIO()):  # a progress bar
        model.save_pretrained(folder, **options)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(models.path("qwen3-nano") / name, folder / name)
    return folder


def read(folder: Path, file: str = WEIGHTS) -> Tensors:
    """The tensors of one file."""
    from safetensors.torch import load_file

    return load_file(folder / file)


def store(folder: Path, tensors: Mapping[str, torch.Tensor], file: str = WEIGHTS) -> None:
    """Write tensors into one file."""
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, folder / file, metadata={"format": "pt"})


def rename(folder: Path, new_name: Callable[[str], str | None]) -> None:
    """Give the tensors of a model other names; those for which *new_name* is None are removed."""
    named = {new_name(name): tensor for name, tensor in read(folder).items()}
    store(folder, {name: tensor for name, tensor in named.items() if name is not None})


def add(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Store more tensors in a model's file."""
    store(folder, read(folder) | dict(tensors))


def shard(folder: Path, count: int = 2, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write shards and their index; the file with all weights stays."""
    every = list((read(folder) if tensors is None else tensors).items())
    weight_map: dict[str, str] = {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = dict(every[number::count])
        store(folder, part, file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def edit(file: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None removes a key, and a file that is not there is begun."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    gone = {key for key, value in changes.items() if value is None}
    write_json(file, {k: v for k, v in (content | changes).items() if k not in gone})


def write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def _write(folder: Path, family: str, config: Mapping[str, Any], seed: int) -> Path:
    save(make_model(family, config, seed), folder)
    file = folder / "config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    rope = content.pop("rope_parameters")
    content |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": None}
    if rope["rope_type"] != "default":
        content["rope_scaling"] = rope
    content["transformers_version"] = "4.51.0"
    content.pop("layer_types", None)
    write_json(file, {PUBLISHED_NAMES.get(key, key): value for key, value in content.items()})
    return folder


def configured(write: Callable[..., Path], changes: dict[str, Any], **config: Any) -> Make:
    """The weights of one config, with another in `config.json`."""

    def make(folder: Path) -> None:
        write(folder / MODEL, **config)
        edit(folder / MODEL / "config.json", **changes)

    return make
