"""A fact that stands in two places which disagree."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.zoo import base
from tests.support.zoo.base import WEIGHTS, configured
from tests.support.zoo.case import MODEL, Case, Make

INDEX = "model.safetensors.index.json"


def _old_index(folder: Path) -> None:
    """A new file with all weights, beside the shards and the index of an older save."""
    base.dense(folder / "old", seed=1)
    base.shard(folder / "old")
    base.dense(folder / MODEL)
    for file in (folder / "old").glob("model*-of-*"):
        shutil.copy(file, folder / MODEL)
    shutil.copy(folder / "old" / INDEX, folder / MODEL)


def _same_index(folder: Path) -> None:
    """Both forms of the same weights, as some tools leave them."""
    base.dense(folder / MODEL)
    base.shard(folder / MODEL)


def _old_shards(folder: Path) -> None:
    """Shards of an older save that no index names."""
    base.dense(folder / "old", seed=1)
    base.shard(folder / "old", 3)
    base.dense(folder / MODEL)
    base.shard(folder / MODEL, 2)
    (folder / MODEL / WEIGHTS).unlink()
    for file in (folder / "old").glob("model*-of-00003.safetensors"):
        shutil.copy(file, folder / MODEL)


def _tensor_in_two_shards(folder: Path) -> None:
    """A tensor that two shards have, with other values in each."""
    _same_index(folder)
    model = folder / MODEL
    (model / WEIGHTS).unlink()
    second = base.read(model, "model-00002-of-00002.safetensors")
    name, tensor = next(iter(base.read(model, "model-00001-of-00002.safetensors").items()))
    base.store(model, second | {name: tensor * 2}, "model-00002-of-00002.safetensors")


def _tensor_that_the_index_lacks(folder: Path) -> None:
    import json

    _same_index(folder)
    (folder / MODEL / WEIGHTS).unlink()
    index = json.loads((folder / MODEL / INDEX).read_text())
    del index["weight_map"]["model.norm.weight"]
    base.write_json(folder / MODEL / INDEX, index)


def _other_formats_beside(folder: Path) -> None:
    """Files of other formats, whose weights are older."""
    base.dense(folder / MODEL)
    for name in ("pytorch_model.bin", "consolidated.00.pth", "training_args.bin", "optimizer.pt"):
        (folder / MODEL / name).write_bytes(b"pickle")


def _other_safetensors_beside(folder: Path) -> None:
    """Other safetensors files, which `from_pretrained` does not read."""
    base.dense(folder / "old", seed=1)
    base.dense(folder / MODEL)
    shutil.copy(folder / "old" / WEIGHTS, folder / MODEL / "consolidated.safetensors")
    shutil.copy(folder / "old" / WEIGHTS, folder / MODEL / "model.fp16.safetensors")


def _expert_twice(folder: Path) -> None:
    """Fused experts, and one of them under its older name with other values."""
    model = base.make_model("Qwen3Moe", base.SPARSE)
    base.save(model, folder / MODEL, save_original_format=False)
    stack = base.read(folder / MODEL)["model.layers.0.mlp.experts.down_proj"]
    base.add(folder / MODEL, {"model.layers.0.mlp.experts.1.down_proj.weight": stack[1] * 2})


def _tied_with_a_head(change: float) -> Make:
    """A tied model whose head was trained apart, by so much."""

    def make(folder: Path) -> None:
        import torch

        base.dense(folder / MODEL, tie_word_embeddings=True)
        head = base.read(folder / MODEL)["model.embed_tokens.weight"]
        noise = torch.randn(head.shape, generator=torch.Generator().manual_seed(1))
        base.add(folder / MODEL, {"lm_head.weight": head + (change * noise).to(head.dtype)})

    return make


def _tied_without_saying(folder: Path) -> None:
    """No head and no word on tying: transformers takes the default of the class."""
    base.dense(folder / MODEL, tie_word_embeddings=True)
    base.edit(folder / MODEL / "config.json", tie_word_embeddings=None)


def _whole_vocabulary(folder: Path) -> tuple[str, ...]:
    base.edit(folder / MODEL / "config.json", vocab_size=2048)
    return ()


CASES = (
    Case("all weights beside an old index", _old_index, warns=("model.safetensors",)),
    Case("all weights beside their own shards", _same_index),
    Case("old shards beside an index", _old_shards),
    Case("a tensor in two shards", _tensor_in_two_shards, refusal=("model-00002",)),
    Case("a tensor that the index lacks", _tensor_that_the_index_lacks),
    Case("other formats beside the weights", _other_formats_beside),
    Case("other safetensors beside the weights", _other_safetensors_beside),
    Case("tied, with a head trained apart", _tied_with_a_head(0.1), warns=("lm_head",)),
    Case("tied, with a head trained apart a little", _tied_with_a_head(1e-3), warns=("lm_head",)),
    Case("untied by the config, and no head",
         configured(base.dense, {"tie_word_embeddings": False}, tie_word_embeddings=True),
         refusal=("lm_head.weight",)),
    Case("no head and no word on tying", _tied_without_saying, refusal=("lm_head.weight",)),
    Case("a vocabulary smaller than the embedding", configured(base.dense, {"vocab_size": 2040}),
         refusal=("set vocab_size to 2048",), fix=_whole_vocabulary),
    Case("a vocabulary larger than the embedding", configured(base.dense, {"vocab_size": 2056}),
         refusal=("set vocab_size to 2048",), fix=_whole_vocabulary),
    Case("two bases of the rotation", configured(base.dense, {
        "rope_theta": 10000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
         warns=('rope_parameters.rope_theta counts',)),
    Case("two scalings of the rotation", configured(base.dense, {
        "rope_scaling": {"rope_type": "yarn", "factor": 2.0,
                         "original_max_position_embeddings": 64},
        "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
                            "original_max_position_embeddings": 64}}),
         warns=('rope_scaling counts',)),
    Case("positions before scaling beside it", configured(base.dense, {
        "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
        "original_max_position_embeddings": 64})),
    Case("two counts of positions before scaling", configured(base.dense, {
        "rope_scaling": {"rope_type": "yarn", "factor": 2.0,
                         "original_max_position_embeddings": 512},
        "original_max_position_embeddings": 64}),
         warns=('original_max_position_embeddings counts',)),
    Case("scaling in one of two places", configured(base.dense, {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                         "original_max_position_embeddings": 64},
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
         warns=('rope_scaling counts',)),
    Case("two types of scaling", configured(base.dense, {
        "rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 4.0,
                         "original_max_position_embeddings": 64}}),
         warns=('rope_type counts',)),
    Case("an expert by itself and in a stack", _expert_twice,
         refusal=("experts.down_proj and in", "save the weights")),
    Case("two counts of experts",
         configured(base.sparse, {"num_experts": 4, "num_local_experts": 8}),
         refusal=("experts.4",)),
    Case("class of another family", configured(base.dense, {"architectures": ["LlamaForCausalLM"]}),
         warns=('model_type counts',)),
    Case("class of another size",
         configured(base.dense, {"architectures": ["Qwen3MoeForCausalLM"]}),
         warns=('model_type counts',)),
    Case("class of a trainer", configured(base.dense, {"architectures": ["FSDPQwen3ForCausalLM"]}),
         warns=('model_type counts',)),
    Case("type of another family", configured(base.dense, {"model_type": "qwen2"}),
         refusal=("q_proj.bias", "take config.json and the weights from the same model")),
    Case("layers with a window", configured(base.dense, {
        "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
        refusal=("sliding",)),
    Case("window by layer types alone", configured(base.dense, {
        "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}),
        refusal=("layer_types",)),
    Case("window by layer types", configured(base.dense, {
        "use_sliding_window": True, "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"]}), refusal=("sliding",)),
    Case("part of a head is rotated", configured(base.dense, {"partial_rotary_factor": 0.5})),
    Case("part of a head is rotated, by rope_parameters", configured(base.dense, {
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                            "partial_rotary_factor": 0.5}})),
    Case("the activation's other name", configured(base.dense, {"hidden_act": "swish"})),
    Case("another activation", configured(base.dense, {"hidden_act": "gelu"}),
         refusal=("hidden_act",)),
    Case("experts that are not renormalized", configured(base.sparse, {"norm_topk_prob": False})),
    Case("no word on renormalizing experts", configured(base.sparse, {"norm_topk_prob": None})),
    Case("a layer without experts", configured(base.sparse, {}, mlp_only_layers=[0])),
    Case("experts in every second layer", configured(base.sparse, {}, decoder_sparse_step=2)),
)  # fmt: skip
