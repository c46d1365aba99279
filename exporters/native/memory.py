"""How much memory an export takes: what it must know, and a few blocks of weights.

Measured with Qwen3-0.6B's shape on Linux (`RssAnon`): 113 MB with one thread, 133 MB with two,
288 MB with eight; the graph and plan of 235B-A22B's 36 000 tensors take 53 MB, those of 32B 7 MB.
"""

from __future__ import annotations

from qdeploy.exporters.native.weights_file import writer
from qdeploy.planning.plan import Plan

BASE_BYTES = 90_000_000
"""Python, NumPy and qdeploy."""
BLOCK_BYTES = 3 * 4 * writer.BLOCK_ELEMENTS
"""A thread's block: as float32, as it was read, and as codes on their way to the file."""
TENSOR_BYTES = 1_500
"""What is known of one tensor: its plan, its place in the file and its part of the graph."""
TABLE_BYTES = 3 * 4
"""For each position and element of a head: its angle, what comes of it, and the constant, which
stays until the end."""
TOKENIZER_COPIES = 8
"""The tokenizer's tables, in sizes of its file. They are gone before the weights come."""


def peak_bytes(plan: Plan, *, tables: bool) -> int:
    """Predict the peak of anonymous memory, in bytes; *tables*: see `Format.tables`."""
    tokenizer = plan.checkpoint.size_of("tokenizer.json")
    weights = TENSOR_BYTES * len(plan.tensors) + BLOCK_BYTES * writer.threads()
    if tables:
        weights += TABLE_BYTES * plan.context * plan.checkpoint.config.head_dim
    return BASE_BYTES + max(TOKENIZER_COPIES * tokenizer, weights)
