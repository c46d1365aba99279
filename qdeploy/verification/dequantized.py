"""The float weights of a checkpoint that is quantized already, computed here in torch.

transformers wants a GPU or another library for most methods, and leaves fused experts as codes for
some. So the weights are computed from the layouts that each method publishes, and transformers
loads them as it loads any others. compressed-tensors is read by its own library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qdeploy.errors import CheckpointError
from qdeploy.verification.libraries import require

Tensor = Any
Parts = Mapping[str, Tensor]
"""Tensors of one linear layer, by what follows its name."""
Settings = Mapping[str, Any]

SETTINGS_FILE = "quantize_config.json"
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
"""Columns of the eight codes of a word, https://github.com/casper-hansen/AutoAWQ."""
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Magnitudes of E2M1 by its lower three bits, OCP Microscaling Formats 1.0, table 5."""


def float_weights(folder: Path, settings: Settings) -> dict[str, Tensor]:
    """All tensors of the checkpoint in *folder*, float32 where they were quantized.

    Args:
        folder: the checkpoint's directory.
        settings: its `quantization_config`; where that is empty, AutoGPTQ's file counts.

    Raises:
        CheckpointError: a layer is stored in a way that is not known here.
    """
    own = folder / SETTINGS_FILE
    if not settings and own.is_file():
        settings = json.loads(own.read_text(encoding="utf-8"))
    modules: dict[str, dict[str, Tensor]] = {}
    stored = _stored(folder)
    heads = {_module(name) for name in stored if _part(name) in MARKS}
    weights: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if (module := _module(name)) in heads:
            modules.setdefault(module, {})[name[len(module) + 1 :]] = tensor
        else:
            weights[name] = tensor
    for module, parts in modules.items():
        try:
            decode = next(decode for mark, decode in METHODS.items() if mark in parts)
            weights[f"{module}.weight"] = decode(module, parts, settings).float()
        except (LookupError, RuntimeError, StopIteration) as error:
            raise CheckpointError(f"cannot be dequantized ({error!r})", where=module) from None
        if "bias" in parts:
            weights[f"{module}.bias"] = parts["bias"]
    return weights


def _stored(folder: Path) -> dict[str, Tensor]:
    """The tensors of the files that transformers reads: one file, or those of an index."""
    load = require("safetensors.torch").load_file
    whole = folder / "model.safetensors"
    if whole.is_file():
        files = [whole.name]
    else:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        files = sorted(set(index["weight_map"].values()))
    return {name: tensor for file in files for name, tensor in load(folder / file).items()}


def _module(name: str) -> str:
    """The layer that a tensor belongs to."""
    before, dot, _ = name.partition(".weight.")  # bitsandbytes: `weight.absmax`
    return before if dot else name.rpartition(".")[0]


def _part(name: str) -> str:
    return name[len(_module(name)) + 1 :]


def _int_words(module: str, parts: Parts, settings: Settings) -> Tensor:
    """`qweight`, which AWQ and GPTQ share a name for: in AWQ alone, words are along the outputs."""
    along = parts["qweight"].shape[1] < parts["scales"].shape[1]
    return _awq(parts) if along else _gptq(parts, settings)


def _awq(parts: Parts) -> Tensor:
    """[N, K] = scales * (codes - zero points), of codes [K, N / 8] in AutoAWQ's GEMM layout."""
    torch = require("torch")
    scales = parts["scales"].float()  # [G, N]
    order = torch.argsort(torch.tensor(AWQ_ORDER))
    codes = _unpack(parts["qweight"], 4)[..., order].flatten(1)  # [K, N]
    zeros = _unpack(parts["qzeros"], 4)[..., order].flatten(1)  # [G, N]
    size = codes.shape[0] // scales.shape[0]
    spread = [t.repeat_interleave(size, 0) for t in (scales, zeros)]
    return (spread[0] * (codes - spread[1])).T


def _gptq(parts: Parts, settings: Settings) -> Tensor:
    """[N, K] of codes [K / n, N]; the first version stores zero points less one.

    Layers may have other numbers of bits than the settings say, which their shapes show.
    """
    torch = require("torch")
    scales, words = parts["scales"].float(), parts["qzeros"]  # [G, N], [G, N / n]
    bits = 32 * words.shape[1] // scales.shape[1]
    codes = _unpack(parts["qweight"].T, bits).flatten(1).T  # [K, N]
    if _stores_less_one(settings):
        words = words.long() + sum(1 << place for place in range(0, 32, bits))
    zeros = _unpack(words, bits).flatten(1)  # [G, N]
    size = -(-codes.shape[0] // scales.shape[0])
    group = parts.get("g_idx")
    group = torch.arange(codes.shape[0]) // size if group is None else group.long()
    return (scales[group] * (codes - zeros[group])).T


def _stores_less_one(settings: Settings) -> bool:
    """Whether zero points are stored less one, in GPTQ's words and in those of AutoRound."""
    as_they_are = ("auto_round", "auto_round:gptqmodel")
    usual = "gptq_v2" if settings.get("packing_format") in as_they_are else "gptq"
    return str(settings.get("checkpoint_format", usual)) != "gptq_v2"


def _unpack(words: Tensor, bits: int) -> Tensor:
    """Codes [..., n] of int32 words [...], from the lowest bits."""
    shifts = require("torch").arange(0, 32, bits)
    return (words.long()[..., None] >> shifts) & (2**bits - 1)


def _fp8(module: str, parts: Parts, settings: Settings) -> Tensor:
    """E4M3 with one scale, or one for each row or block. `scale_inv` is a scale all the same."""
    scale = parts["weight_scale_inv"] if "weight_scale_inv" in parts else parts["weight_scale"]
    block = settings.get("weight_block_size")
    return parts["weight"].float() * _spread(scale.float(), parts["weight"].shape, block)


def _spread(scale: Tensor, shape: tuple[int, ...], block: Sequence[int] | None) -> Tensor:
    """Repeat scales over their blocks; the last block of a side may be cut short."""
    if scale.numel() == 1:
        return scale.reshape(1, 1)
    if scale.dim() == 1:
        return scale[:, None]
    for axis in (0, 1):
        size = block[axis] if block else -(-shape[axis] // scale.shape[axis])
        scale = scale.repeat_interleave(size, axis).narrow(axis, 0, shape[axis])
    return scale


def _nvfp4(module: str, parts: Parts, settings: Settings) -> Tensor:
    """NVFP4: E2M1, a scale in E4M3 for 16 columns, and one for all.

    The last multiplies in ModelOpt's tensors, and divides in those of compressed-tensors, whose
    library would round the weights to bfloat16.
    """
    if "weight_global_scale" in parts:
        codes, whole = parts["weight_packed"], 1 / parts["weight_global_scale"].float()
    else:
        codes, whole = parts["weight"], parts["weight_scale_2"].float()
    values = _halves(codes)
    scales = parts["weight_scale"].float() * whole
    return values * scales.repeat_interleave(values.shape[1] // scales.shape[1], 1)


def _halves(codes: Tensor) -> Tensor:
    """E2M1 values [N, K] of bytes [N, K / 2], the lower half first."""
    torch = require("torch")
    table = torch.tensor([*FP4, *(-value for value in FP4)])
    pairs = torch.stack([codes & 15, codes >> 4], -1).flatten(1)
    return table[pairs.long()]


def _bitsandbytes(module: str, parts: Parts, settings: Settings) -> Tensor:
    """4 bits: indices into a table, the upper half first, and the largest value of each block."""
    torch = require("torch")
    [name] = [part for part in parts if part.startswith("weight.quant_state.bitsandbytes")]
    state = json.loads(bytes(parts[name].tolist()))
    largest = parts["weight.absmax"]
    if "weight.nested_absmax" in parts:
        scale = parts["weight.nested_absmax"].repeat_interleave(state["nested_blocksize"])
        table = parts["weight.nested_quant_map"]
        largest = table[largest.long()] * scale[: len(largest)] + state["nested_offset"]
    codes = parts["weight"].flatten().long()
    values = parts["weight.quant_map"][torch.stack([codes >> 4, codes & 15], -1).flatten()]
    spread = largest.repeat_interleave(state["blocksize"])[: len(values)]
    return (values * spread).reshape(state["shape"])


def _compressed(module: str, parts: Parts, settings: Settings) -> Tensor:
    """Whatever compressed-tensors stores, by its library."""
    library = require("compressed_tensors")
    scheme = _scheme(module, settings)
    stored = scheme.format or settings["format"]
    name = str(getattr(stored, "value", stored))
    decompress = library.compressors.BaseCompressor.get_value_from_registry(name).decompress
    floats = (require("torch").float16, require("torch").bfloat16)
    wide = {key: t.float() if t.dtype in floats else t for key, t in parts.items()}
    return decompress(wide, scheme)["weight"]


def _scheme(module: str, settings: Settings) -> Any:
    """The group of the config that names the layer, or its class."""
    library = require("compressed_tensors.quantization")
    match = require("compressed_tensors.utils.match").match_name
    groups = library.QuantizationConfig.model_validate(dict(settings)).config_groups.values()
    targets = [(target, scheme) for scheme in groups for target in scheme.targets]
    named = [scheme for target, scheme in targets if match(module, target)]
    of_class = [scheme for target, scheme in targets if target == "Linear"]
    return (named or of_class)[0]


def _scaled(module: str, parts: Parts, settings: Settings) -> Tensor:
    """A `weight_scale` with a `weight`, as several methods store it."""
    if settings.get("quant_method") == "compressed-tensors":
        return _compressed(module, parts, settings)
    return _fp8(module, parts, settings)


def _int8(module: str, parts: Parts, settings: Settings) -> Tensor:
    """Bitsandbytes' 8 bits: 127 stands for the largest value of a row."""
    return parts["weight"].float() * parts["SCB"].float()[:, None] / 127


METHODS: Mapping[str, Callable[[str, Parts, Settings], Tensor]] = {
    "qweight": _int_words,
    "weight_global_scale": _nvfp4,
    "weight_packed": _compressed,
    "weight.absmax": _bitsandbytes,
    "SCB": _int8,
    "weight_scale_inv": _fp8,
    "weight_scale_2": _nvfp4,
    "weight_scale": _scaled,
}
"""How a layer is decoded, by the first of these parts that it has."""
MARKS = frozenset(METHODS)
