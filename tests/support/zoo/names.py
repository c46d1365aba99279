"""The same model under other names, and tensors that no model reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.zoo import base
from tests.support.zoo.base import configured
from tests.support.zoo.case import MODEL, Case, Make


def _saved(family: str, config: dict[str, Any], **options: Any) -> Make:
    """As transformers 5 saves a model: `dtype`, `rope_parameters`, `num_local_experts`."""

    def make(folder: Path) -> None:
        base.save(base.make_model(family, config), folder / MODEL, **options)

    return make


def _renamed(
    pattern: str, replacement: str, write: Callable[..., Path] = base.dense, **config: Any
) -> Make:
    def make(folder: Path) -> None:
        write(folder / MODEL, **config)
        base.rename(folder / MODEL, lambda name: re.sub(pattern, replacement, name))

    return make


def _with_tensors(
    names: Mapping[str, tuple[int, ...]], write: Callable[..., Path] = base.dense, **config: Any
) -> Make:
    """More tensors of random values than the model has."""

    def make(folder: Path) -> None:
        import torch

        write(folder / MODEL, **config)
        random = torch.Generator().manual_seed(0)
        base.add(folder / MODEL, {n: torch.randn(*s, generator=random) for n, s in names.items()})

    return make


def _in_dtype(dtype: str, only: str = "") -> Make:
    def make(folder: Path) -> None:
        import torch

        base.dense(folder / MODEL)
        tensors = base.read(folder / MODEL)
        for name in tensors:
            if re.search(only, name):
                tensors[name] = tensors[name].to(getattr(torch, dtype))
        base.store(folder / MODEL, tensors)

    return make


def _tied_by_the_head(folder: Path) -> None:
    """A tied model whose one matrix is stored as the lm_head."""
    base.dense(folder / MODEL, tie_word_embeddings=True)
    base.rename(folder / MODEL, lambda n: n.replace("model.embed_tokens", "lm_head"))


def _tied_and_stored_twice(folder: Path) -> None:
    base.dense(folder / MODEL, tie_word_embeddings=True)
    head = base.read(folder / MODEL)["model.embed_tokens.weight"]
    base.add(folder / MODEL, {"lm_head.weight": head})


def _without_a_head(folder: Path) -> None:
    """The base model alone, of an untied model: its head is lost."""
    base.dense(folder / MODEL)
    base.rename(folder / MODEL, lambda n: None if n == "lm_head.weight" else n)


def _fused_in_shards(folder: Path) -> None:
    base.save(
        base.make_model("Qwen3Moe", base.SPARSE),
        folder / MODEL,
        save_original_format=False,
        max_shard_size="400KB",
    )


def _one_shard_of_one(folder: Path) -> None:
    base.dense(folder / MODEL)
    base.shard(folder / MODEL, 1)
    (folder / MODEL / base.WEIGHTS).unlink()


def _shards_in_folders(folder: Path) -> None:
    base.dense(folder / MODEL)
    base.shard(folder / MODEL, 3)
    (folder / MODEL / base.WEIGHTS).unlink()


ROTARY = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (32,) for i in range(2)}
LEFT_OVER = {
    "quant_method": "bitsandbytes", "load_in_4bit": True, "_load_in_4bit": True,
    "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_type": "nf4",
}  # fmt: skip
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {
    "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
}  # fmt: skip

CASES = (
    Case("dense, as published", configured(base.dense, {})),
    Case("dense and tied", configured(base.dense, {}, tie_word_embeddings=True)),
    Case("experts, as published", configured(base.sparse, {})),
    Case("dense, saved by transformers 5", _saved("Qwen3", base.DENSE)),
    Case(
        "dense and tied, saved by transformers 5",
        _saved("Qwen3", base.DENSE | {"tie_word_embeddings": True}),
    ),
    Case("experts, saved by transformers 5", _saved("Qwen3Moe", base.SPARSE)),
    Case("fused experts", _saved("Qwen3Moe", base.SPARSE, save_original_format=False)),
    Case("fused experts in shards", _fused_in_shards),
    Case(
        "fused experts, some layers dense",
        _saved("Qwen3Moe", base.SPARSE | {"mlp_only_layers": [0]}, save_original_format=False),
    ),
    Case("fused experts without the prefix model", _renamed(
        r"^model\.", "", lambda f: base.save(
            base.make_model("Qwen3Moe", base.SPARSE | {"tie_word_embeddings": True}),
            f, save_original_format=False))),
    Case("one shard", _one_shard_of_one),
    Case("three shards", _shards_in_folders),
    Case("without the prefix model", _renamed(r"^model\.", "", tie_word_embeddings=True)),
    Case("untied, without the prefix model", _renamed(r"^model\.", "")),
    Case("experts without the prefix model", _renamed(r"^model\.", "", base.sparse)),
    Case("prefix of DistributedDataParallel", _renamed("^", "module.")),
    Case("prefix of torch.compile", _renamed("^", "_orig_mod.")),
    Case("prefix of torch.compile inside", _renamed(r"^model\.", "model._orig_mod.")),
    Case("prefix of FSDP", _renamed(r"layers\.(\d+)\.", r"layers.\1._fsdp_wrapped_module.")),
    Case("prefix of FSDP and torch.compile", _renamed("^", "_fsdp_wrapped_module._orig_mod.")),
    Case("prefix of activation checkpointing",
         _renamed(r"layers\.(\d+)\.", r"layers.\1._checkpoint_wrapped_module.")),
    Case("prefix of PEFT", _renamed("^", "base_model.model.")),
    Case("prefix of Lightning", _renamed("^", "model.")),
    Case("prefix of TRL's value head", _renamed("^", "pretrained_model.")),
    Case("PEFT's base layers", _renamed(r"_proj\.weight", "_proj.base_layer.weight")),
    Case("frequencies of the rotation", _with_tensors(ROTARY)),
    Case("frequencies of the rotation, once", _with_tensors({"model.rotary_emb.inv_freq": (32,)})),
    Case("frequencies without the prefix model", _with_tensors({"rotary_emb.inv_freq": (32,)})),
    Case("tables of the rotation", _with_tensors(
        {"model.layers.0.self_attn.rotary_emb.cos_cached": (8, 64),
         "model.layers.0.self_attn.rotary_emb.sin_cached": (8, 64)})),
    Case("causal masks", _with_tensors({"model.layers.0.self_attn.masked_bias": (1,),
                                        "model.layers.0.self_attn.bias": (1, 1, 8, 8)})),
    Case("a value head", _with_tensors({"v_head.summary.weight": (1, 128),
                                        "v_head.summary.bias": (1,)}),
         warns=('v_head.summary.bias',)),
    Case("a classifier", _with_tensors({"score.weight": (2, 128)}),
         warns=('score.weight',)),
    Case("scales of an FP8 cache", _with_tensors({"model.layers.0.self_attn.k_scale": (1,),
                                                  "model.layers.0.self_attn.v_scale": (1,)})),
    Case("layers of a draft model", _with_tensors({"mtp.fc.weight": (128, 256)}),
         warns=('mtp.fc.weight',)),
    Case("tied, stored as the head", _tied_by_the_head),
    Case("tied, stored twice", _tied_and_stored_twice),
    Case("untied, without its head", _without_a_head, refusal=("lm_head.weight",)),
    Case("one layer more than the config", configured(
        base.dense, {"num_hidden_layers": 2}, num_hidden_layers=3),
         warns=('model.layers.2.',)),
    Case("one layer fewer than the config", configured(base.dense, {"num_hidden_layers": 3}),
         refusal=("model.layers.2",)),
    Case("no architectures", configured(base.dense, {"architectures": None})),
    Case("no architectures, experts", configured(base.sparse, {"architectures": None})),
    Case("weights in float16", _in_dtype("float16")),
    Case("weights in float32", _in_dtype("float32")),
    Case("norms in float32", _in_dtype("float32", "norm")),
    Case("weights in float64", _in_dtype("float64", "q_proj")),
    Case("left-over settings of bitsandbytes",
         configured(base.dense, {"quantization_config": LEFT_OVER}),
         warns=('all are floats',)),
    Case("left-over settings of GPTQ", configured(base.dense, {"quantization_config": GPTQ}),
         warns=('all are floats',)),
    Case("left-over settings of FP8", configured(base.dense, {"quantization_config": FP8}),
         warns=('all are floats',)),
    Case("experts of both names", configured(base.sparse, {"num_local_experts": 4})),
    Case("dtype under both names", configured(base.dense, {"dtype": "float16"})),
    Case("rotation under both names", configured(
        base.dense, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}})),
    Case("base of the rotation is an integer", configured(base.dense, {"rope_theta": 10000})),
    Case("no base of the rotation", configured(base.dense, {"rope_theta": None})),
    Case("no head_dim", configured(base.dense, {"head_dim": None}, head_dim=128,
                                     num_attention_heads=1, num_key_value_heads=1)),
    Case("yarn", configured(base.dense, {"rope_scaling": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}})),
    Case("yarn by its old name", configured(base.dense, {"rope_scaling": {
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}})),
    Case("yarn, saved by transformers 5", _saved("Qwen3", base.DENSE | {"rope_parameters": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
        "rope_theta": 10000.0}})),
    Case("a window that no layer uses", configured(
        base.dense, {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2})),
    Case("a window that is switched off", configured(
        base.dense, {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 0})),
)  # fmt: skip
