"""How Qwen3-Reranker is asked whether a document answers a query.

Source: https://huggingface.co/Qwen/Qwen3-Reranker-0.6B, "Transformers Usage". Its sequence
classifiers (tomaarsen/Qwen3-Reranker-0.6B-seq-cls) are asked in the same way.
"""

from __future__ import annotations

from qdeploy.tokenization.tokenizer import Tokenizer

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def pair_ids(
    tokenizer: Tokenizer, query: str, document: str, instruction: str | None = None
) -> tuple[list[int], list[int], list[int]]:
    """Token ids of what comes before a query and a document, of both, and of what comes after.

    *instruction* is what makes a document relevant; None is `INSTRUCTION`.
    """
    instruction = INSTRUCTION if instruction is None else instruction
    pair = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    return tokenizer.encode(PREFIX), tokenizer.encode(pair, special=True), tokenizer.encode(SUFFIX)
