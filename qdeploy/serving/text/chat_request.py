"""A request to `/v1/chat/completions`: its fields, and the generation that they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from qdeploy.generation.generate import Generation
from qdeploy.generation.settings import Settings
from qdeploy.interface import Session
from qdeploy.serving.errors import invalid
from qdeploy.serving.fields import IN_CHATS, check
from qdeploy.serving.settings import Limits
from qdeploy.serving.text.generate_fields import Count, GenerateFields
from qdeploy.tokenization.tokenizer import Tokenizer

EFFORTS: Mapping[str, tuple[bool, int | None]] = {
    "none": (False, None),
    "minimal": (True, 128),
    "low": (True, 512),
    "medium": (True, 2048),
    "high": (True, None),
    "xhigh": (True, None),
}
"""`reasoning_effort`: whether the model thinks, and the most tokens of that. Qwen3 has no efforts
of its own, so they are budgets."""
SWITCH = "enable_thinking"


class ChatFields(GenerateFields):
    """Fields of a chat's request."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    thinking_budget: Annotated[int, Field(ge=0)] | None = None
    thinking_token_budget: Annotated[int, Field(ge=0)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def most_probable(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


def parse(body: Mapping[str, Any], limits: Limits) -> ChatFields:
    """Check the body of a request.

    Raises:
        ApiError: it cannot be served.
    """
    fields = check(ChatFields, body, IN_CHATS)
    for place, message in enumerate(fields.messages):
        if not isinstance(message.get("role"), str) or not message["role"]:
            raise invalid(f"messages[{place}].role", "a text is needed")
    if fields.top_logprobs and not fields.logprobs:
        raise invalid("top_logprobs", "logprobs must be true")
    fields.check_limits(limits)
    return fields


def settings(
    fields: ChatFields, tokenizer: Tokenizer, seed: int, most_tokens: int | None
) -> Settings:
    """What the fields ask of a generation.

    Raises:
        ApiError: they contradict each other.
        InputError: a number is out of its range.
    """
    thinking, budget = _thinking(fields)
    return Settings(
        thinking=thinking,
        thinking_budget=budget,
        max_new_tokens=fields.most_tokens or most_tokens,
        sampling=fields.sampling(tokenizer, thinking),
        seed=seed,
        tools=tuple(fields.tools or ()),
        tool_choice="auto" if fields.tool_choice is None else fields.tool_choice,
        parallel_tool_calls=fields.parallel_tool_calls is not False,
        template_kwargs=_further_kwargs(fields),
        stop=fields.stops,
        logprobs=fields.most_probable,
        json_schema=fields.schema_text,
        add_generation_prompt=fields.add_generation_prompt is not False,
        continue_final_message=bool(fields.continue_final_message),
    )


def generation(
    fields: ChatFields, session: Session, tokenizer: Tokenizer, asked: Settings, index: int
) -> Generation:
    """Render and tokenize the chat; the answer with this *index* is made by iterating over it.

    Raises:
        InputError: the prompt does not fit, or the chat template refuses it.
    """
    return Generation(session, tokenizer, fields.messages, asked.choice(index))


def _further_kwargs(fields: ChatFields) -> dict[str, Any]:
    """Variables of the chat template, but for the switch of the thinking."""
    given = fields.chat_template_kwargs or {}
    return {name: value for name, value in given.items() if name != SWITCH}


def _thinking(fields: ChatFields) -> tuple[bool | None, int | None]:
    """Whether to think, and the most tokens of that; None is the model's default.

    What names the switch itself counts before the effort, which is a hint.
    """
    in_template = (fields.chat_template_kwargs or {}).get(SWITCH)
    if in_template is not None and not isinstance(in_template, bool):
        raise invalid(f"chat_template_kwargs.{SWITCH}", "true or false is needed")
    if None not in (in_template, fields.enable_thinking) and in_template != fields.enable_thinking:
        raise invalid(SWITCH, f"contradicts chat_template_kwargs.{SWITCH}")
    switch = in_template if in_template is not None else fields.enable_thinking
    budget = fields.thinking_budget
    if budget is None:
        budget = fields.thinking_token_budget
    by_effort = EFFORTS.get(fields.reasoning_effort or "", (None, None))
    thinking = by_effort[0] if switch is None else switch
    if budget is None and thinking is not False:
        budget = by_effort[1]
    return thinking, budget
