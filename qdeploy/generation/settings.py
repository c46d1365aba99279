"""What a caller may ask of an answer besides its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from qdeploy.generation.seed import SEEDS
from qdeploy.interface import Sampling

Tool = Mapping[str, Any]
"""A function that the model may call, as in OpenAI's API:
`{"type": "function", "function": {"name": ..., "description": ..., "parameters": JSON Schema}}`."""

ToolChoice = Literal["auto", "none", "required"] | Mapping[str, Any]
"""As in OpenAI's API: the model decides; no call; a call of any tool; or a call of the tool that
`{"type": "function", "function": {"name": ...}}` names."""


@dataclass(frozen=True)
class Settings:
    """What a user may ask for besides the prompt. None is the model's own default.

    Attributes:
        thinking: whether the model thinks before it answers.
        thinking_budget: most tokens of thinking, after which the model is made to answer. Fewer
            where these tokens and the sentence that ends them exceed the session's prompt limit.
        max_new_tokens: most tokens to generate, thinking included; None is what the model's
            generation_config.json says, or else what the context leaves.
        sampling: how tokens are drawn; None is the default: see `default_sampling`.
        seed: replaces the seed of `sampling`.
        tools: functions that the model may call.
        tool_choice: whether it may, or which of them it must.
        parallel_tool_calls: whether it may call several; if not, the answer ends after the first.
        template_kwargs: further variables of the chat template. `enable_thinking` among them is
            `thinking`.
        stop: texts that end the content of an answer; they are not part of it. In the thinking and
            in tool calls they end nothing.
        logprobs: so many of the most probable tokens are told at each place, besides the one that
            was drawn; None tells no log-probabilities.
        json_schema: a JSON Schema as JSON text, which the content then keeps to.
        add_generation_prompt: whether the assistant's next turn is begun.
        continue_final_message: the answer continues the last message, whose turn stays open, in
            place of beginning the next one.
    """

    thinking: bool | None = None
    thinking_budget: int | None = None
    max_new_tokens: int | None = None
    sampling: Sampling | None = None
    seed: int = 0
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    json_schema: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    def choice(self, index: int) -> Settings:
        """Return the settings of the answer with this *index*, where several are asked for."""
        return replace(self, seed=(self.seed + index) % SEEDS)
