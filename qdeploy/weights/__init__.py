"""The weights of a checkpoint as float32, a few rows at a time, whatever they are stored as.

layout      the tensors that a Qwen3 checkpoint must have, and the check that it has them
tensorfile  one safetensors file, mapped into memory
floats      the number formats of checkpoints, made float32
lora        an adapter, merged into the rows as they are read
source      all of it together: `rows`
"""

from qdeploy.weights.layout import check, expected
from qdeploy.weights.source import BLOCK_BYTES, Source, open_source

__all__ = [
    "BLOCK_BYTES", "Source", "check", "expected", "open_source",
]  # fmt: skip
