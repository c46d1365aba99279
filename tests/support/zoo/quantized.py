"""Checkpoints that are quantized already, written by the published layout of each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.zoo import base
from tests.support.zoo.case import MODEL, Case, Make
from tests.support.zoo.encodings import (
    GROUP,
    awq,
    bitsandbytes,
    compressed,
    fp8_blocks,
    fp8_scale,
    gptq,
)

if TYPE_CHECKING:
    import torch

    from tests.support.zoo.encodings import Encode

AWQ = {
    "quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm",
    "modules_to_not_convert": None,
}  # fmt: skip
GPTQ = {
    "quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True,
    "checkpoint_format": "gptq", "damp_percent": 0.1, "lm_head": False,
}  # fmt: skip
FP8 = {
    "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
    "weight_block_size": [64, 64],
}  # fmt: skip


def quantized(
    encode: Encode, settings: Mapping[str, Any], write: Callable[..., Path] = base.dense,
    **config: Any,
) -> Make:  # fmt: skip
    """A model whose linear layers, except router and head, are encoded."""

    def make(folder: Path) -> None:
        model = write(folder / MODEL, **config)
        stored: dict[str, torch.Tensor] = {}
        for name, tensor in base.read(model).items():
            module, _, part = name.rpartition(".")
            if module.endswith("_proj") and part == "weight":
                parts = encode(tensor.float())
                stored |= {f"{module}.{key}": value for key, value in parts.items()}
            else:
                stored[name] = tensor
        base.store(model, stored)
        base.edit(model / "config.json", quantization_config=dict(settings))

    return make


def ct(stored: str, *, ignore: tuple[str, ...] = ("lm_head",), **args: Any) -> Mapping[str, Any]:
    """The config of compressed-tensors with one group."""
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"} | args
    return {
        "quant_method": "compressed-tensors", "format": stored, "ignore": list(ignore),
        "quantization_status": "compressed", "kv_cache_scheme": None, "version": "0.12.2",
        "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": weights, "input_activations": None,
            "output_activations": None, "format": stored}},
    }  # fmt: skip


def _compressed_case(
    name: str, stored: str, write: Callable[..., Path] = base.dense, **args: Any
) -> Case:
    ignore = ("lm_head",) if write is base.dense else ("lm_head", r"re:.*mlp\.gate$")
    settings = ct(stored, ignore=ignore, **args)
    weights = settings["config_groups"]["group_0"]["weights"]
    return Case(name, quantized(partial(compressed, args=weights, stored=stored), settings, write))


BNB = {
    "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
    "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False,
    "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
}  # fmt: skip
AUTO_ROUND = {
    "quant_method": "auto-round", "bits": 4, "group_size": GROUP, "sym": False,
    "data_type": "int", "iters": 200, "autoround_version": "0.5.1",
}  # fmt: skip
"""Of which `packing_format` says how zero points are stored."""
MODELOPT = {
    "quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
    "kv_cache_quant_algo": None, "producer": {"name": "modelopt", "version": "0.33.0"},
}  # fmt: skip

CASES = (
    Case("AWQ", quantized(awq, AWQ)),
    Case("AWQ, a group a row", quantized(partial(awq, group=128), AWQ | {"group_size": 128})),
    Case("AWQ without zero points", quantized(
        partial(awq, zero_point=False), AWQ | {"zero_point": False})),
    Case("AWQ, experts", quantized(awq, AWQ | {"modules_to_not_convert": ["gate"]}, base.sparse)),
    Case("AWQ, tied", quantized(awq, AWQ, tie_word_embeddings=True)),
    Case("GPTQ", quantized(gptq, GPTQ)),
    Case("GPTQ without g_idx", quantized(partial(gptq, g_idx=False), GPTQ)),
    Case("GPTQ, asymmetric", quantized(partial(gptq, symmetric=False), GPTQ | {"sym": False})),
    Case("GPTQ, second version", quantized(
        partial(gptq, version=2, symmetric=False),
        GPTQ | {"sym": False, "checkpoint_format": "gptq_v2"})),
    Case("AutoRound, packed like GPTQ", quantized(
        partial(gptq, symmetric=False),
        AUTO_ROUND | {"packing_format": "auto_round:auto_gptq"})),
    Case("AutoRound, packed like GPTQ's second version", quantized(
        partial(gptq, version=2, symmetric=False),
        AUTO_ROUND | {"packing_format": "auto_round:gptqmodel"})),
    Case("AutoRound, packed like AWQ", quantized(
        awq, AUTO_ROUND | {"packing_format": "auto_round:auto_awq"})),
    Case("GPTQ, static groups", quantized(
        gptq, GPTQ | {"desc_act": True, "static_groups": True})),
    Case("GPTQ, 8 bits", quantized(partial(gptq, bits=8), GPTQ | {"bits": 8})),
    Case("GPTQ, a group a row", quantized(partial(gptq, group=-1), GPTQ | {"group_size": -1})),
    Case("GPTQ, experts", quantized(gptq, GPTQ, base.sparse)),
    Case("GPTQ, columns in another order",
         quantized(partial(gptq, ordered=True), GPTQ | {"desc_act": True}),
         refusal=("desc_act", "--requantize"), fix=lambda folder: ["--requantize"],
         warns=("rounded again",)),
    _compressed_case("packed", "pack-quantized", group_size=GROUP),
    _compressed_case("packed, asymmetric", "pack-quantized", group_size=GROUP, symmetric=False),
    _compressed_case("packed, 8 bits", "pack-quantized", num_bits=8, strategy="channel"),
    _compressed_case("packed, experts", "pack-quantized", base.sparse, group_size=GROUP),
    _compressed_case("int8 codes", "int-quantized", num_bits=8, strategy="channel"),
    _compressed_case("int8 codes, a scale a tensor", "int-quantized",
                     num_bits=8, strategy="tensor"),
    _compressed_case("naive int8 codes", "naive-quantized", num_bits=8, strategy="channel"),
    _compressed_case("float8, a scale a row", "float-quantized",
                     num_bits=8, type="float", strategy="channel"),
    _compressed_case("float8, a scale a tensor", "float-quantized",
                     num_bits=8, type="float", strategy="tensor"),
    Case("FP8 in blocks", quantized(fp8_blocks, FP8)),
    Case("FP8 in blocks that are cut short", quantized(
        partial(fp8_blocks, block=96), FP8 | {"weight_block_size": [96, 96]})),
    Case("FP8 in blocks, experts", quantized(fp8_blocks, FP8, base.sparse)),
    Case("ModelOpt's FP8", quantized(partial(fp8_scale, rows=False), MODELOPT)),
    Case("bitsandbytes", quantized(bitsandbytes, BNB), warns=("rounded again",)),
    Case("bitsandbytes, nested", quantized(
        partial(bitsandbytes, nested=True), BNB | {"bnb_4bit_use_double_quant": True}),
         warns=("rounded again",)),
)  # fmt: skip
