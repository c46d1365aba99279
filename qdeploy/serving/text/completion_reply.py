"""The JSON of continued texts, whole and in chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qdeploy.generation.completion import Completion
from qdeploy.generation.pieces import Piece
from qdeploy.serving.events import DONE, event
from qdeploy.serving.text.frame import Frame, usage
from qdeploy.serving.text.token_logprobs import completion_logprobs
from qdeploy.tokenization.tokenizer import Tokenizer


class CompletionReply:
    """Writes the continuations of one request's prompts.

    Args:
        frame: what all parts have in common.
        tokenizer: says which text log-probabilities are of.
        choices: answers to each prompt.
        with_logprobs: whether log-probabilities are told.
        with_usage: whether a stream ends with the usage.
    """

    def __init__(
        self,
        frame: Frame,
        tokenizer: Tokenizer,
        *,
        choices: int,
        with_logprobs: bool,
        with_usage: bool,
    ) -> None:
        self._frame, self._tokenizer, self._choices = frame, tokenizer, choices
        self._with_logprobs, self._with_usage = with_logprobs, with_usage
        self._written: dict[int, int] = {}
        head = json.dumps(frame.whole("text_completion"))
        self._head = f'{head[:-1]}, "choices": ['

    def whole(
        self, answers: Sequence[Completion], made: Mapping[int, Sequence[Piece]]
    ) -> dict[str, Any]:
        """All answers together."""
        choices = [self._choice(i, made[i], a.finish_reason) for i, a in enumerate(answers)]
        return self._frame.whole("text_completion", choices=choices, usage=self._usage(answers))

    def begin(self, index: int) -> bytes:
        """Nothing: a text has no role."""
        return b""

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """A chunk of what was generated since the last one."""
        return self._chunk(self._choice(index, pieces, None)) if pieces else b""

    def end(self, index: int, answer: Completion) -> bytes:
        """The last chunk of an answer."""
        return self._chunk(self._choice(index, (), answer.finish_reason))

    def last(self, answers: Sequence[Completion]) -> bytes:
        """What follows all answers: the usage, where the client asked for it, and the end."""
        if not self._with_usage:
            return DONE
        told = self._frame.whole("text_completion", choices=[], usage=self._usage(answers))
        return event(told) + DONE

    def _usage(self, answers: Sequence[Completion]) -> dict[str, Any]:
        return usage([a.prompt_tokens for a in answers[:: self._choices]], answers)

    def _choice(
        self, index: int, pieces: Sequence[Piece], finish_reason: str | None
    ) -> dict[str, Any]:
        text, logprobs = "".join(piece.text for piece in pieces), None
        if self._with_logprobs and pieces:
            tokens = [token for piece in pieces for token in piece.tokens]
            begin = self._written.get(index, 0)
            self._written[index] = begin + len(text)
            logprobs = completion_logprobs(tokens, self._tokenizer, begin)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return f"data: {self._head}{json.dumps(choice)}]}}\n\n".encode()
