"""The weights of a checkpoint as float32, read a few rows at a time, from any stored data type.

check   the tensors that a checkpoint must have, and the check that it has them
misfit  why weights and config.json do not belong together, and what helps
reader  reads rows of a weight from its source
"""

from qdeploy.checkpoint.weights.check import check_weights, expected_tensors
from qdeploy.checkpoint.weights.reader import (
    BLOCK_BYTES,
    WeightReader,
    WrappedReader,
    open_weights,
)

__all__ = [
    "BLOCK_BYTES", "WeightReader", "WrappedReader", "check_weights", "expected_tensors",
    "open_weights",
]  # fmt: skip
