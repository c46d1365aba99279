"""Schemes: how quantization methods store the weights of a checkpoint.

base                what a scheme is
find                the scheme of a checkpoint, from its settings
settings            the settings, checked as they are read
awq, gptq           integer codes in words
compressed_tensors  all formats of llm-compressor
bitsandbytes        four and eight bits
floats              FP8 and FP4: Qwen's own, fbgemm, ModelOpt, Quark
refused             methods that cannot be read, with the reason
peek                reads the few bytes that say shapes
"""

from qdeploy.checkpoint.schemes.base import Parts, Scheme
from qdeploy.checkpoint.schemes.find import find_scheme

__all__ = ["Parts", "Scheme", "find_scheme"]
