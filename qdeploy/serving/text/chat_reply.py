"""The JSON of answers to chats, whole and in chunks.

A chunk is made for every few tokens of every client, so its frame is put together once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from qdeploy.engines.chats import REASONING
from qdeploy.generation.generate import Generation
from qdeploy.generation.pieces import Piece, tool_calls
from qdeploy.serving.events import DONE, event
from qdeploy.serving.text.frame import Frame, usage
from qdeploy.serving.text.token_logprobs import chat_logprobs
from qdeploy.tokenization.tokenizer import Tokenizer


class ChatReply:
    """Writes the answers to one chat.

    Args:
        frame: what all parts have in common.
        tokenizer: says which text log-probabilities are of.
        with_logprobs: whether they are told.
        with_usage: whether a stream ends with the usage.
    """

    def __init__(
        self, frame: Frame, tokenizer: Tokenizer, *, with_logprobs: bool, with_usage: bool
    ) -> None:
        self._frame, self._tokenizer = frame, tokenizer
        self._with_logprobs, self._with_usage = with_logprobs, with_usage
        head = json.dumps(frame.whole("chat.completion.chunk"))
        self._head = f'{head[:-1]}, "choices": [{{"index": '

    def whole(
        self, answers: Sequence[Generation], made: Mapping[int, Sequence[Piece]]
    ) -> dict[str, Any]:
        """All answers together."""
        choices = [self._choice(i, answer, made[i]) for i, answer in enumerate(answers)]
        return self._frame.whole("chat.completion", choices=choices, usage=self._usage(answers))

    def begin(self, index: int) -> bytes:
        """The first chunk of an answer."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """Chunks of what was generated since the last ones: one for what belongs together."""
        return b"".join(
            self._chunk(index, _delta(group), logprobs=self._logprobs(group))
            for _, pieces_of_one in groupby(pieces, _part)
            if (group := list(pieces_of_one))
        )

    def end(self, index: int, answer: Generation) -> bytes:
        """The last chunk of an answer."""
        return self._chunk(index, {}, finish_reason=answer.finish_reason)

    def last(self, answers: Sequence[Generation]) -> bytes:
        """What follows all answers: the usage, where the client asked for it, and the end."""
        if not self._with_usage:
            return DONE
        told = self._frame.whole("chat.completion.chunk", choices=[], usage=self._usage(answers))
        return event(told) + DONE

    def _usage(self, answers: Sequence[Generation]) -> dict[str, Any]:
        thought = sum(answer.reasoning_tokens for answer in answers)
        details = {"completion_tokens_details": {"reasoning_tokens": thought}}
        return usage([answers[0].prompt_tokens], answers) | details

    def _choice(self, index: int, answer: Generation, pieces: Sequence[Piece]) -> dict[str, Any]:
        content, thinking = _text(pieces, "content"), _text(pieces, "reasoning")
        calls = [call.as_dict() for call in tool_calls(pieces)]
        message: dict[str, Any] = {"role": "assistant", "content": content}
        message |= dict.fromkeys(REASONING, thinking or None)
        if calls:
            message |= {"content": content or None, "tool_calls": calls}
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(pieces),
            "finish_reason": answer.finish_reason,
        }

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        tokens = [t for piece in pieces if piece.channel == "content" for t in piece.tokens]
        return chat_logprobs(tokens, self._tokenizer) if tokens else None

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        rest = {"delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return f"data: {self._head}{index}, {json.dumps(rest)[1:]}]}}\n\n".encode()


def _part(piece: Piece) -> tuple[str, int | None]:
    """Pieces that follow each other and have the same go into one chunk."""
    return piece.channel, piece.call.index if piece.call else None


def _delta(pieces: Sequence[Piece]) -> dict[str, Any]:
    text, first = "".join(piece.text for piece in pieces), pieces[0]
    if first.channel == "reasoning":
        return dict.fromkeys(REASONING, text)
    if first.call is None:
        return {"content": text}
    function: dict[str, Any] = {"arguments": text}
    call: dict[str, Any] = {"index": first.call.index, "function": function}
    if first.call.id is not None:
        call |= {"id": first.call.id, "type": "function"}
        function["name"] = first.call.name
    return {"tool_calls": [call]}


def _text(pieces: Sequence[Piece], channel: str) -> str:
    return "".join(piece.text for piece in pieces if piece.channel == channel)
