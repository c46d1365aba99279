"""Checkpoints whose weights are floats of four bits, and settings that stand beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.zoo import base, encodings, quantized
from tests.support.zoo.case import MODEL, Case

if TYPE_CHECKING:
    import torch

FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Magnitudes of E2M1 by its lower three bits."""
NVFP4 = {
    "quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"],
    "kv_cache_quant_algo": None, "producer": {"name": "modelopt", "version": "0.33.0"},
    "config_groups": {"group_0": {
        "input_activations": {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16},
        "weights": {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16},
        "targets": ["Linear"]}},
}  # fmt: skip
EIGHT_BITS = {
    "quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False,
    "llm_int8_threshold": 6.0,
}  # fmt: skip


def _fp4(weight: torch.Tensor, scales: torch.Tensor, group: int) -> torch.Tensor:
    """Codes [N, K / 2] of E2M1, the lower half first; *scales* [N, G] are those of groups."""
    import torch

    wanted = weight / scales.repeat_interleave(group, 1)
    codes = (wanted.abs()[..., None] - torch.tensor(FP4)).abs().argmin(-1)
    codes = codes + 8 * (wanted < 0)
    return (codes[:, ::2] | (codes[:, 1::2] << 4)).to(torch.uint8)


def _nvfp4(weight: torch.Tensor, *, compressed: bool = False) -> Mapping[str, torch.Tensor]:
    """ModelOpt's tensors, or those of compressed-tensors, whose scale of a tensor divides."""
    import torch

    largest = weight.unflatten(1, (-1, 16)).abs().amax(-1)
    whole = weight.abs().amax() / (6 * 448)
    scales = (largest / 6 / whole).to(torch.float8_e4m3fn)
    codes = _fp4(weight, scales.float() * whole, 16)
    if compressed:
        inverse = (1 / whole).reshape(1)
        return {"weight_packed": codes, "weight_scale": scales, "weight_global_scale": inverse}
    activations = torch.tensor(0.01)
    return {
        "weight": codes, "weight_scale": scales, "weight_scale_2": whole,
        "input_scale": activations,
    }  # fmt: skip


def _mxfp4(weight: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """The powers of two are stored as E8M0: the exponent plus 127."""
    import torch

    largest = weight.unflatten(1, (-1, 32)).abs().amax(-1)
    exponents = (largest / 6).log2().ceil()
    codes = _fp4(weight, 2**exponents, 32)
    return {"weight_packed": codes, "weight_scale": (exponents + 127).to(torch.uint8)}


def _eight_bits(weight: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """LLM.int8(): a row's largest value is stored beside its codes."""
    import torch

    largest = weight.abs().amax(1)
    codes = (weight / largest[:, None] * 127).round().to(torch.int8)
    return {"weight": codes, "SCB": largest, "weight_format": torch.tensor(0, dtype=torch.uint8)}


def _static_fp8(weight: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """With a scale for activations."""
    import torch

    parts = encodings.fp8_scale(weight, rows=False)
    return {**parts, "input_scale": torch.tensor(0.01)}


def _settings_in_another_file(name: str, settings: Mapping[str, Any]) -> Any:
    """The settings beside `config.json`, which has none."""

    def make(folder: Path) -> None:
        encode = encodings.gptq if "gptq" in str(settings) else _static_fp8
        quantized.quantized(encode, {})(folder)
        base.edit(folder / MODEL / "config.json", quantization_config=None)
        base.write_json(folder / MODEL / name, settings)

    return make


MODELOPT_FILE = {
    "producer": {"name": "modelopt", "version": "0.29.0"},
    "quantization": {
        "quant_algo": "FP8", "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"],
    },
}  # fmt: skip
ROUNDED = "rounded again"

CASES = (
    Case("ModelOpt's NVFP4", quantized.quantized(_nvfp4, NVFP4), warns=(ROUNDED,)),
    Case("ModelOpt's FP8 with scales of activations",
         quantized.quantized(_static_fp8, quantized.MODELOPT)),
    Case("ModelOpt's FP8 by its own file",
         _settings_in_another_file("hf_quant_config.json", MODELOPT_FILE)),
    Case("NVFP4 of compressed-tensors", quantized.quantized(
        partial(_nvfp4, compressed=True),
        quantized.ct("nvfp4-pack-quantized", type="float", strategy="tensor_group",
                     group_size=16)), warns=(ROUNDED,)),
    Case("MXFP4 of compressed-tensors", quantized.quantized(
        _mxfp4, quantized.ct("mxfp4-pack-quantized", type="float", group_size=32)),
        warns=(ROUNDED,)),
    Case("bitsandbytes, 8 bits", quantized.quantized(_eight_bits, EIGHT_BITS)),
    Case("GPTQ by the file of AutoGPTQ",
         _settings_in_another_file("quantize_config.json", quantized.GPTQ)),
)  # fmt: skip
