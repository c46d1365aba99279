"""Messages as in OpenAI's API become those that chat templates are written for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qdeploy.errors import PromptError
from qdeploy.tokenization.tokenizer import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of content parts that are text, and the key that holds it."""


def for_template(messages: Sequence[Message], source: str) -> list[Message]:
    """Return the messages as the chat template *source* takes them.

    Content is text; parts of it are joined with line breaks, as in vLLM. Arguments of tool calls
    are objects, as transformers asks for. `reasoning` is `reasoning_content`. A developer is the
    system for a template that knows none.

    Raises:
        PromptError: there are no messages, or one is malformed, or has more than text.
    """
    if not messages:
        raise PromptError("the chat has no messages", fix="give at least one, e.g. of the user")
    return [_message(message, f"messages[{i}]", source) for i, message in enumerate(messages)]


def _message(message: Message, where: str, source: str) -> Message:
    if not isinstance(message, Mapping):
        raise _fault(f"is {_kind(message)}", where, 'give {"role": ..., "content": ...}')
    role = message.get("role")
    if role == "developer" and not _names(source, "developer"):
        role = "system"
    if role not in ROLES and not (isinstance(role, str) and _names(source, role)):
        raise _fault(f"has the role {role!r}", where, f"give one of: {', '.join(ROLES)}")
    turned = dict(message) | {"role": role, "content": _content(message.get("content"), where)}
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    turned.pop("reasoning", None)
    turned.pop("reasoning_content", None)
    if thoughts:
        turned["reasoning_content"] = _content(thoughts, where)
    calls = turned.pop("tool_calls", None)
    if calls:
        turned["tool_calls"] = _calls(calls, where)
    return turned


def _content(content: object, where: str) -> str:
    """Return the text of a message's content."""
    if content is None:
        return ""
    if isinstance(content, str):
        text = content
    elif isinstance(content, (list, tuple)):
        text = "\n".join(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    else:
        raise _fault(f"has a content that is {_kind(content)}", where, "give text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _fault("has lone surrogates in its text", where, "give Unicode text") from None
    return text


def _part(part: object, where: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise _fault(f"is {_kind(part)}", where, 'give {"type": "text", "text": ...}')
    if kind not in TEXT_PARTS:
        raise _fault(f"has the type {kind!r}", where, "the model reads text only: leave it out")
    text = part.get(TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise _fault(f"has no text in {TEXT_PARTS[kind]!r}", where, "give text")
    return text


def _calls(calls: object, where: str) -> list[dict[str, Any]]:
    """Return an assistant's tool calls with their arguments as objects where they are such."""
    if not isinstance(calls, (list, tuple)):
        raise _fault(f"has tool_calls that are {_kind(calls)}", where, "give a list")
    return [_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)]


def _call(call: object, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    named = isinstance(function, Mapping) and isinstance(function.get("name"), str)
    if not isinstance(call, Mapping) or not isinstance(function, Mapping) or not named:
        shape = '{"type": "function", "function": {"name": ..., "arguments": ...}}'
        raise _fault("is not a call of a function", where, f"give {shape}")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        # a model's own mistake stays in the chat as it was
        arguments = parsed if isinstance(parsed, dict) else arguments
    return dict(call) | {"function": dict(function) | {"arguments": arguments}}


def _names(source: str, role: str) -> bool:
    return f"'{role}'" in source or f'"{role}"' in source


def _kind(value: object) -> str:
    return "null" if value is None else f"of the type {type(value).__name__}"


def _fault(what: str, where: str, fix: str) -> PromptError:
    return PromptError(what, where=where, fix=fix)
