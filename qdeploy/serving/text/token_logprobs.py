"""Log-probabilities of tokens in OpenAI's two forms: of chats, and of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdeploy.interface import Token
from qdeploy.tokenization.tokenizer import Tokenizer

LEAST = -9999.0
"""What stands for minus infinity, which JSON does not have; OpenAI's number for the same."""


def chat_logprobs(tokens: Sequence[Token], tokenizer: Tokenizer) -> dict[str, Any]:
    """`logprobs` of a chat's choice: each token with its bytes and its rivals."""

    def told(token: int, logprob: float | None) -> dict[str, Any]:
        text, data = tokenizer.token_text(token)
        return {"token": text, "logprob": _finite(logprob), "bytes": list(data)}

    content = [
        told(t.id, t.logprob) | {"top_logprobs": [told(i, value) for i, value in t.most_probable]}
        for t in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(
    tokens: Sequence[Token], tokenizer: Tokenizer, begin: int
) -> dict[str, Any]:
    """`logprobs` of a completion's choice: four lists, with an entry a token.

    *begin* is how many characters the answer has before these tokens. The first token of a prompt
    follows nothing, so it has no log-probability.
    """
    texts = [tokenizer.token_text(token.id)[0] for token in tokens]
    offsets = []
    for token in tokens:
        offsets.append(begin)
        begin += len(token.text)
    return {
        "tokens": texts,
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [_rivals(token, tokenizer) for token in tokens],
        "text_offset": offsets,
    }


def _rivals(token: Token, tokenizer: Tokenizer) -> dict[str, float | None] | None:
    """The most probable tokens and the drawn one; of two that look the same, the first counts."""
    if token.logprob is None:
        return None
    found: dict[str, float | None] = {}
    for i, value in (*token.most_probable, (token.id, token.logprob)):
        found.setdefault(tokenizer.token_text(i)[0], _finite(value))
    return found


def _finite(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, LEAST)
