"""Reasoning: its tokens told from content, the default sampling, and the early stop.

What differs by family is in the row of its architecture (`qdeploy.architectures.recommended`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from qdeploy.architectures.recommended import Recommended, RecommendedSampling
from qdeploy.architectures.table import find_architecture
from qdeploy.interface import Sampling
from qdeploy.tokenization.tokenizer import END_THINK, THINK, Tokenizer

Channel = Literal["reasoning", "content"]
"""The two parts of an answer: the thinking, and the text after it."""

TRANSFORMERS = RecommendedSampling(temperature=1.0, top_p=1.0, top_k=50)
"""Defaults of transformers' `GenerationConfig` where `do_sample` is set; without it, greedy."""


class ReasoningParser:
    """Assigns the tokens of an answer to channels, in order.

    The thinking tags belong to neither channel. A chat template may open the thinking in the prompt
    (Qwen3-*-Thinking-2507), so the answer then begins with reasoning. A tag in a user's turn does
    not count: that turn has ended.

    Attributes:
        thinking: whether the next token is reasoning.
        thinking_tokens: reasoning tokens so far.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._open, self._close = tokenizer.id_of(THINK), tokenizer.id_of(END_THINK)
        ends = {self._close, *tokenizer.stop_ids}
        last = next((t for t in reversed(prompt_ids) if t == self._open or t in ends), None)
        self.thinking = last is not None and last == self._open
        self.thinking_tokens = 0

    def push(self, token: int) -> Channel | None:
        """Return the channel of the next token; None for a thinking tag."""
        if token == self._open:
            self.thinking = True
            return None
        if token == self._close:
            self.thinking = False
            return None
        if self.thinking:
            self.thinking_tokens += 1
            return "reasoning"
        return "content"


def default_sampling(tokenizer: Tokenizer, thinking: bool | None) -> Sampling:
    """Return the sampling of the model's own files, or else of its family, for this mode.

    `generation_config.json` describes the model's default mode, which is thinking for a Qwen3 with
    a thinking switch. No file has the values of the other mode; the family's row has them. A family
    without recommendations gets what transformers does with the file.
    """
    recommended = _recommended(tokenizer)
    if recommended and thinking is False and tokenizer.has_thinking_switch:
        return Sampling(*recommended.content)
    config = tokenizer.generation_config
    samples = recommended is not None if config.do_sample is None else config.do_sample
    if not samples:
        return Sampling()
    default = TRANSFORMERS
    if recommended:
        thinks = tokenizer.has_thinking_switch
        default = recommended.reasoning if thinks else recommended.content
    return Sampling(
        temperature=default.temperature if config.temperature is None else config.temperature,
        top_p=default.top_p if config.top_p is None else config.top_p,
        top_k=default.top_k if config.top_k is None else config.top_k,
    )


def early_stop(tokenizer: Tokenizer) -> str:
    """Return the text that ends thinking: the family's sentence, if any, and the closing tag."""
    recommended = _recommended(tokenizer)
    return f"{recommended.early_stop if recommended else ''}\n{END_THINK}\n\n"


def sampling_for(
    tokenizer: Tokenizer,
    thinking: bool | None,
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
) -> Sampling:
    """Return the default sampling, with the given values in place of its own."""
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    changes: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
    return replace(default_sampling(tokenizer, thinking), **changes)


def _recommended(tokenizer: Tokenizer) -> Recommended | None:
    family = find_architecture(tokenizer.architecture)
    return family.recommended if family else None
