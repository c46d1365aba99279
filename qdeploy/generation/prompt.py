"""The prompt of an answer: a chat rendered by the model's template, as text and token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qdeploy.errors import InputError
from qdeploy.generation.settings import Settings, Tool
from qdeploy.tokenization.messages import for_template
from qdeploy.tokenization.tokenizer import END_THINK, THINK, Message, Tokenizer

SWITCH = "enable_thinking"
OWN = {
    "messages": "the messages",
    "tools": "the setting 'tools'",
    "add_generation_prompt": "the setting of that name",
    "continue_final_message": "the setting of that name",
}
"""Variables of templates that are not to be set as such, and what sets them."""


@dataclass(frozen=True)
class Prompt:
    """A rendered chat.

    Attributes:
        ids: its tokens.
        thinking: whether it has opened the thinking, so that the answer begins with reasoning.
    """

    ids: tuple[int, ...]
    thinking: bool


def make_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], settings: Settings, tools: Sequence[Tool]
) -> Prompt:
    """Render and tokenize a chat.

    Raises:
        InputError: settings contradict each other, or ask for what the template does not have.
        PromptError: a message is malformed, or the template refuses the chat.
    """
    template = tokenizer.chat_template
    text = template.render(
        for_template(messages, template.source),
        thinking=_switch(tokenizer, settings),
        tools=tools,
        variables=_variables(settings),
        add_generation_prompt=_begins_turn(settings),
        continue_final_message=settings.continue_final_message,
    )
    ids = tuple(tokenizer.encode(text))
    return Prompt(ids, _opens_thinking(tokenizer, ids, text))


def wanted_thinking(settings: Settings) -> bool | None:
    """Return whether the model is told to think, or not to; None is its default.

    Raises:
        InputError: it is told both, or something else.
    """
    given = settings.template_kwargs.get(SWITCH)
    if given is None:
        return settings.thinking
    if not isinstance(given, bool):
        raise InputError(
            f"{SWITCH} is {given!r}", where="chat_template_kwargs", fix="give true or false"
        )
    if settings.thinking is not None and settings.thinking != given:
        raise InputError(
            f"thinking is {settings.thinking}, and {SWITCH} is {given}", fix="give one of them"
        )
    return given


def may_think(tokenizer: Tokenizer, prompt: Prompt, settings: Settings) -> bool:
    """Return whether the answer may begin with thinking."""
    asked = tokenizer.has_thinking_switch and wanted_thinking(settings) is not False
    begins = asked and not settings.continue_final_message and tokenizer.id_of(THINK) is not None
    return prompt.thinking or begins


def _switch(tokenizer: Tokenizer, settings: Settings) -> bool | None:
    thinking = wanted_thinking(settings)
    if thinking is not None and not tokenizer.has_thinking_switch:
        raise InputError(
            "this model's chat template has no thinking switch",
            where=tokenizer.folder,
            fix="leave out --think and --no-think",
        )
    return thinking


def _variables(settings: Settings) -> dict[str, object]:
    variables = {key: value for key, value in settings.template_kwargs.items() if key != SWITCH}
    for name in OWN.keys() & variables.keys():
        raise InputError(
            f"{name!r} is not for templates to be given", where="chat_template_kwargs",
            fix=f"use {OWN[name]}",
        )  # fmt: skip
    return variables


def _begins_turn(settings: Settings) -> bool:
    """Return whether the assistant's turn is begun. One that is continued has begun."""
    return settings.add_generation_prompt and not settings.continue_final_message


def _opens_thinking(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> bool:
    """Return whether a prompt ends within the thinking.

    A tag in a user's turn does not count: that turn has ended.
    """
    opening, closing = tokenizer.id_of(THINK), tokenizer.id_of(END_THINK)
    if opening is None:
        return text.rstrip().endswith(THINK)
    ends = {closing, *tokenizer.stop_ids}
    last = next((token for token in reversed(ids) if token == opening or token in ends), None)
    return last == opening
