"""How quantization methods store the weights of a checkpoint, by `quantization_config`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.fp8 import E4M3, SCALE_SUFFIX, ScaledFP8
from qdeploy.errors import CheckpointError

Parts = Mapping[str, TensorInfo]
"""The stored tensors of one module by the last part of their names: `weight`, `qweight`, `bias`."""


class Scheme(ABC):
    """One quantization method with the settings of one checkpoint.

    Attributes:
        name: the method's, as plans show it.
    """

    name: ClassVar[str]

    @abstractmethod
    def source(self, module: str, parts: Parts) -> Source | None:
        """The source of the module's `weight`; None where it is not quantized.

        Parts that the source does not read are taken as tensors of their own.
        """


class FP8Blocks(Scheme):
    """Qwen's own FP8 checkpoints: E4M3 with a scale for each block."""

    name = "fp8"

    def __init__(self, block: tuple[int, int]) -> None:
        self._block = block

    def source(self, module: str, parts: Parts) -> Source | None:
        weight, scales = parts.get("weight"), parts.get(f"weight{SCALE_SUFFIX}")
        if weight is None or scales is None or weight.dtype != E4M3 or len(weight.shape) != 2:
            return None
        return ScaledFP8(weight, scales, self._block)


def find_scheme(settings: Mapping[str, Any] | None, *, where: object) -> Scheme | None:
    """The scheme that `quantization_config` of the file *where* describes; None for none.

    Raises:
        CheckpointError: a method or a setting that is not supported.
    """
    if not settings:
        return None
    if (method := settings.get("quant_method")) != "fp8":
        raise CheckpointError(
            f"quantized already, by {method!r}", where=where, fix="use the original checkpoint"
        )
    match settings.get("weight_block_size"):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return FP8Blocks((rows, columns))
        case other:
            raise CheckpointError(
                f"'weight_block_size' is {other!r}, not two positive numbers", where=where
            )
