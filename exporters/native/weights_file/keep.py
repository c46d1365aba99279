"""Codes that a checkpoint stores or that calibration found, taken over as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.exporters.native.weights_file.block import Block

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from qdeploy.checkpoint.weights import WeightReader
    from qdeploy.quantization.quantized import Quantized


def keep(source: WeightReader, block: Block) -> Quantized:
    """The rows of a block; its tensors without codes are rounded to the same precision."""
    from qdeploy.quantization.matrix import quantize

    precision, first = block.stored.precision, block.member
    made = []
    for name, given in zip(block.tensors, block.stored.given[first:], strict=False):
        if given:
            made.append(source.codes(name, block.start, block.stop))
        else:
            values = source.rows(name, block.start, block.stop)
            made.append(quantize(values, precision, where=name))
    return _alternate(made)


def _alternate(parts: Sequence[Quantized]) -> Quantized:
    """The rows of equal-shaped matrices in turn."""
    import numpy as np

    from qdeploy.quantization.quantized import Quantized

    if len(parts) == 1:
        return parts[0]

    def rows(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.stack(arrays, axis=1).reshape(-1, arrays[0].shape[1])

    points = [part.zero_points for part in parts if part.zero_points is not None]
    return Quantized(
        parts[0].precision,
        rows([part.codes for part in parts]),
        rows([part.scales for part in parts]),
        rows(points) if points else None,
    )
