"""In which tensors the published checkpoints that are quantized store a weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.fp8 import E4M3, SCALE_SUFFIX, scale_shape

WORD_BITS = 32
Parts = Iterator[TensorInfo]
Layout = Callable[[str, tuple[int, ...], Mapping[str, Any]], Parts]


def layout_of(settings: Mapping[str, Any] | None) -> Layout:
    """The layout of linear weights by `quantization_config`; None is that of floats."""
    return LAYOUTS[settings["quant_method"]] if settings else floats


def floats(name: str, shape: tuple[int, ...], _: Mapping[str, Any] | None = None) -> Parts:
    """A weight that is not quantized: one tensor."""
    yield TensorInfo(name, shape, "BF16", "")


def _fp8(name: str, shape: tuple[int, ...], settings: Mapping[str, Any]) -> Parts:
    high, wide = settings["weight_block_size"]
    yield TensorInfo(name, shape, E4M3, "")
    yield TensorInfo(name + SCALE_SUFFIX, scale_shape(shape, (high, wide)), "BF16", "")


def _awq(name: str, shape: tuple[int, ...], settings: Mapping[str, Any]) -> Parts:
    (rows, columns), module = shape, name.removesuffix("weight")
    per_word, groups = WORD_BITS // settings["bits"], columns // settings["group_size"]
    yield TensorInfo(f"{module}qweight", (columns, rows // per_word), "I32", "")
    yield TensorInfo(f"{module}qzeros", (groups, rows // per_word), "I32", "")
    yield TensorInfo(f"{module}scales", (groups, rows), "F16", "")


def _gptq(name: str, shape: tuple[int, ...], settings: Mapping[str, Any]) -> Parts:
    (rows, columns), module = shape, name.removesuffix("weight")
    per_word, groups = WORD_BITS // settings["bits"], columns // settings["group_size"]
    yield TensorInfo(f"{module}qweight", (columns // per_word, rows), "I32", "")
    yield TensorInfo(f"{module}qzeros", (groups, rows // per_word), "I32", "")
    yield TensorInfo(f"{module}scales", (groups, rows), "F16", "")
    yield TensorInfo(f"{module}g_idx", (columns,), "I32", "")


LAYOUTS: dict[str, Layout] = {"fp8": _fp8, "awq": _awq, "gptq": _gptq}
"""By `quant_method`."""
