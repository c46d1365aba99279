"""The weights of a checkpoint as float32, a few rows at a time, whatever they are stored as.

check        the tensors that a checkpoint must have, and the check that it has them
safetensors  one safetensors file, mapped into memory
dtypes       the number formats of checkpoints, converted to float32
lora         an adapter, merged into the rows as they are read
reader       all of it together: `rows`
"""

from qdeploy.checkpoint.weights.check import check_weights, expected_tensors
from qdeploy.checkpoint.weights.reader import BLOCK_BYTES, WeightReader, open_weights

__all__ = [
    "BLOCK_BYTES", "WeightReader", "check_weights", "expected_tensors", "open_weights",
]  # fmt: skip
