"""The parts of an answer as they come: reasoning, content and tool calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from qdeploy.interface import Token

Channel = Literal["reasoning", "content", "tool_call"]
"""The parts of an answer: the thinking, the text after it, and the calls of tools."""

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
"""Why an answer ended: at a stop token or a stop text; at the limit of tokens or of the context;
at a stop token after whole tool calls; or the caller stopped reading."""


@dataclass(frozen=True)
class CallPart:
    """Which tool call a piece belongs to.

    Attributes:
        index: the call's place among those of the answer, from 0.
        id: the call's id, in its first piece; None in the others.
        name: the function's name, in its first piece; None in the others.
    """

    index: int
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Piece:
    """Complete characters of an answer, and the channel that they belong to.

    Attributes:
        text: the characters. In a tool call they are the next ones of its arguments, in JSON; the
            first piece of a call may have none.
        channel: `reasoning`, `content` or `tool_call`.
        tokens: the tokens that these characters come from. One that spans two pieces belongs to
            the first of them. Those of tool calls and tags belong to none.
        call: which call, for the channel `tool_call` only.
    """

    text: str
    channel: Channel
    tokens: tuple[Token, ...] = ()
    call: CallPart | None = None


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for.

    Attributes:
        id: unique; the message with the function's result names it as its `tool_call_id`.
        name: of the function, as the model wrote it.
        arguments: as the model wrote them: JSON, unless the model made a mistake.
    """

    id: str
    name: str
    arguments: str

    def as_dict(self) -> dict[str, Any]:
        """As OpenAI's API has it in an assistant's message."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


def tool_calls(pieces: Iterable[Piece]) -> tuple[ToolCall, ...]:
    """Put the calls together that *pieces* are parts of."""
    calls: list[ToolCall] = []
    for piece in pieces:
        if piece.call is None:
            continue
        if piece.call.index == len(calls):
            calls.append(ToolCall(piece.call.id or "", piece.call.name or "", ""))
        last = calls[-1]
        calls[-1] = replace(last, arguments=last.arguments + piece.text)
    return tuple(calls)
