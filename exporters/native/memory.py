"""Predicted memory of an export: the plan, the graph, and a few blocks of weights.

Measured with Qwen3-0.6B's shape on Linux (`RssAnon`): 113 MB with one thread, 133 MB with two,
288 MB with eight; the graph and plan of 235B-A22B's 36 000 tensors take 53 MB, those of 32B 7 MB.
"""

from __future__ import annotations

from qdeploy.exporters.native.weights_file import writer
from qdeploy.exporters.native.weights_file.block import BLOCK_ELEMENTS
from qdeploy.planning.plan import Plan
from qdeploy.tokenization.text_files import MERGES_FILE, TOKENIZER_FILE, VOCAB_FILE

BASE_BYTES = 90_000_000
"""Python, NumPy and qdeploy."""
BLOCK_BYTES = 3 * 4 * BLOCK_ELEMENTS
"""A thread's block: as float32, as it was read, and as codes on their way to the file."""
TENSOR_BYTES = 1_500
"""For one tensor: its plan, its place in the file and its nodes in the graph."""
TABLE_BYTES = 3 * 4
"""For each position and element of a head: the angle, its cosine or sine, and the constant of the
graph, which is kept until the end."""
TOKENIZER_COPIES = 8
"""Memory of the tokenizer's tables, in sizes of its file. It is freed before the weights."""


def peak_bytes(plan: Plan, *, tables: bool) -> int:
    """Predict the peak of anonymous memory, in bytes; *tables*: see `FormatWriter.tables`."""
    slow = sum(map(plan.checkpoint.size_of, (VOCAB_FILE, MERGES_FILE)))
    tokenizer = plan.checkpoint.size_of(TOKENIZER_FILE) or slow
    weights = TENSOR_BYTES * len(plan.tensors) + BLOCK_BYTES * writer.threads()
    if tables:
        weights += TABLE_BYTES * plan.context * plan.checkpoint.config.head_dim
    return BASE_BYTES + max(TOKENIZER_COPIES * tokenizer, weights)
