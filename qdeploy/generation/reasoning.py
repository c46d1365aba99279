"""Reasoning: its tokens told from content, the recommended sampling, and the early stop.

Sources: Qwen3's model cards for the sampling of both modes, and Qwen's quickstart
(qwen.readthedocs.io, "Thinking Budget") for the sentence that ends thinking early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from qdeploy.interface import Sampling
from qdeploy.tokenization.tokenizer import END_THINK, THINK, Tokenizer

Channel = Literal["reasoning", "content"]
"""The two parts of an answer: the thinking, and the text after it."""

EARLY_STOP = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the "
    "thinking directly now.\n</think>\n\n"
)
RECOMMENDED = {
    "reasoning": Sampling(temperature=0.6, top_p=0.95, top_k=20),
    "content": Sampling(temperature=0.7, top_p=0.8, top_k=20),
}


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


def default_sampling(tokenizer: Tokenizer, think: bool | None) -> Sampling:
    """Return the sampling that the model's makers recommend for this mode.

    `generation_config.json` describes the model's default mode, which is thinking for a Qwen3 with
    a thinking switch. No file has the values of the other mode, so they are built in.
    """
    if think is False and tokenizer.has_thinking_switch:
        return RECOMMENDED["content"]
    config = tokenizer.generation_config
    if config.do_sample is False:
        return Sampling()
    built_in = RECOMMENDED["reasoning" if tokenizer.has_thinking_switch else "content"]
    return Sampling(
        temperature=built_in.temperature if config.temperature is None else config.temperature,
        top_p=built_in.top_p if config.top_p is None else config.top_p,
        top_k=built_in.top_k if config.top_k is None else config.top_k,
    )


def sampling_for(
    tokenizer: Tokenizer,
    think: bool | None,
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
) -> Sampling:
    """Return the recommended sampling, with the given values in place of its own."""
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    changes: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
    return replace(default_sampling(tokenizer, think), **changes)
