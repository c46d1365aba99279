"""Quantization that cannot be read: the methods with the reason, and the scheme that refuses."""

from __future__ import annotations

from qdeploy.checkpoint.schemes.base import Parts, Scheme
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import FLOATS
from qdeploy.errors import CheckpointError

CODEBOOKS = "its weights are sums of entries of learned codebooks"
REASONS = {
    "aqlm": CODEBOOKS,
    "vptq": CODEBOOKS,
    "higgs": "its weights are rotated, and codes of points in several dimensions",
    "spqr": "its weights have sparse outliers of their own",
    "quip": CODEBOOKS,
    "mlx": "its weights are in the layout of MLX",
    "hqq": "it stores Python objects beside the weights",
    "torchao": "it stores tensor classes of PyTorch",
    "quanto": "it stores tensor classes of PyTorch",
    "eetq": "its weights are in the order of one CUDA kernel",
    "bitnet": "its weights are ternary, with quantized activations",
    "fp_quant": "its weights are rotated",
    "sinq": "its weights have scales of rows and of columns",
}
"""By `quant_method` in lower case."""
PLAIN_PARTS = ("weight", "bias", "inv_freq")
UNKNOWN = "the method is not known"


class Refused(Scheme):
    """Refuses at the first weight that is not plain floats.

    Settings that a fully merged float checkpoint was left with do no harm.
    """

    name = "refused"

    def __init__(self, error: CheckpointError) -> None:
        self._error = error

    def source(self, module: str, parts: Parts) -> Source | None:
        if all(t.dtype in FLOATS and name in PLAIN_PARTS for name, t in parts.items()):
            return None
        raise self._error
