"""The weights of a checkpoint as float32, a few rows at a time, whatever they are stored as.

layout      the tensors that a Qwen3 checkpoint must have, and the check that it has them
tensorfile  one safetensors file, mapped into memory
floats      the number formats of checkpoints, made float32
lora        an adapter, merged into the rows as they are read
source      all of it together: `rows`
"""

from qdeploy.checkpoint.weights.check import check_weights, expected_tensors
from qdeploy.checkpoint.weights.reader import BLOCK_BYTES, WeightReader, open_weights

__all__ = [
    "BLOCK_BYTES", "WeightReader", "check_weights", "expected_tensors", "open_weights",
]  # fmt: skip
