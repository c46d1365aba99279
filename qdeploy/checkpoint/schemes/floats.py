"""FP8 and FP4: weights that are stored as small floats with scales, by several methods."""

from __future__ import annotations

from typing import Any

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.schemes.base import (
    STATIC_ACTIVATIONS,
    STATIC_CACHE,
    Parts,
    Scheme,
    contradiction,
)
from qdeploy.checkpoint.schemes.settings import Settings
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.fp4 import ScaledFP4
from qdeploy.checkpoint.sources.fp8 import E4M3, SCALE_SUFFIX, ScaledFP8
from qdeploy.checkpoint.sources.plain import FLOATS

SCALES = (f"weight{SCALE_SUFFIX}", "weight_scale")
"""Names of the scales: of Qwen's and DeepSeek's checkpoints, and of all others."""
WHOLE = "weight_scale_2"
"""ModelOpt's scale of a whole NVFP4 tensor."""
MODELOPT = ("fp8", "nvfp4")
"""ModelOpt's algorithms that can be read."""
UNREAD = {
    **dict.fromkeys(
        ("input_scale", "activation_scale", "input_scale_ub", "output_scale"), STATIC_ACTIVATIONS
    ),
    **dict.fromkeys(("k_scale", "v_scale"), STATIC_CACHE),
}


class SmallFloats(Scheme):
    """Floats of eight bits with scales, and of four bits where tensors have those."""

    unread = UNREAD

    def __init__(self, settings: Settings) -> None:
        """Check *settings*.

        Raises:
            CheckpointError: 'weight_block_size' is no block.
        """
        given = settings.values.get("weight_block_size")
        self._block = block_of(given)
        if given is not None and self._block is None:
            raise settings.error(f"'weight_block_size' is {given!r}, not two positive numbers")

    def source(self, module: str, parts: Parts) -> Source | None:
        weight = parts.get("weight")
        scales = next((parts[name] for name in SCALES if name in parts), None)
        if weight is None or scales is None or weight.dtype in FLOATS:
            return None
        if weight.dtype == E4M3:
            return fp8(weight, scales, self._block)
        found = fp4(weight, scales, parts.get(WHOLE))
        kind = f"is {weight.dtype} {list(weight.shape)} with scales"
        return found or contradiction(weight, parts, f"{kind}, which {self.name} is not read from")


class FP8(SmallFloats):
    """E4M3: Qwen's own in blocks, and the older ones of vLLM with a scale a tensor."""

    name = "fp8"


class FbgemmFP8(SmallFloats):
    """E4M3 with a scale a row."""

    name = "fbgemm_fp8"


class ModelOpt(SmallFloats):
    """NVIDIA's ModelOpt: E4M3 with a scale a tensor, or NVFP4."""

    name = "modelopt"

    def __init__(self, settings: Settings) -> None:
        """Check *settings*: those of config.json, or those of hf_quant_config.json.

        Raises:
            CheckpointError: another algorithm than FP8 and NVFP4.
        """
        super().__init__(settings)
        algorithm = settings.text("quant_algo") or str(
            settings.table("quantization").get("quant_algo", "")
        )
        if algorithm.lower() not in MODELOPT:
            raise settings.error(
                f"weights of ModelOpt's {algorithm.upper() or 'unnamed algorithm'}; FP8 and NVFP4 "
                "can be read"
            )


class Quark(SmallFloats):
    """AMD's Quark: E4M3 or MXFP4, with the names of the others."""

    name = "quark"


def fp8(weight: TensorInfo, scales: TensorInfo, block: tuple[int, int] | None) -> Source | None:
    """E4M3 with a scale for each *block*; without one, for each row or for the tensor."""
    if weight.dtype != E4M3 or len(weight.shape) != 2:
        return None
    if block is None:
        rows, columns = weight.shape
        whole = (max(rows, 1), max(columns, 1))
        block = whole if scales.numel == 1 else (1, whole[1])
    return ScaledFP8(weight, scales, block)


def fp4(
    weight: TensorInfo, scales: TensorInfo, whole: TensorInfo | None, *, divides: bool = False
) -> Source | None:
    """E2M1 in blocks of 16 (NVFP4) or 32 (MXFP4) columns; None for others."""
    if weight.dtype != "U8" or len(weight.shape) != 2:
        return None
    return ScaledFP4(weight, scales, whole, divides=divides)


def block_of(value: Any) -> tuple[int, int] | None:
    """Rows and columns of a block, from the settings; None where they are not two numbers."""
    match value:
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return rows, columns
    return None
