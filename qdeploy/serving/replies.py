"""The JSON of chats' answers, whole and in chunks.

Chunks are made for every few tokens of every client, so their frame is put together once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.generation.generate import Generation, Piece
from qdeploy.serving.events import DONE, event

REASONING = ("reasoning", "reasoning_content")
"""Names of the thinking: vLLM's today, and DeepSeek's, which most clients read."""


@dataclass(frozen=True)
class Frame:
    """What all parts of one answer have in common."""

    id: str
    created: int
    model: str
    fingerprint: str

    def whole(self, kind: str, **content: Any) -> dict[str, Any]:
        """An answer of a *kind*, such as `chat.completion`."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            **content,
        }

    def chat(
        self, generations: Sequence[Generation], _: Mapping[int, Sequence[Piece]]
    ) -> dict[str, Any]:
        """The whole answers to a chat."""
        choices = [choice(index, generation) for index, generation in enumerate(generations)]
        return self.whole("chat.completion", choices=choices, usage=usage(generations))


def frame(model: ChatModel, name: str, prefix: str) -> Frame:
    """Begin an answer, with an id of its own."""
    return Frame(f"{prefix}-{secrets.token_hex(16)}", int(time.time()), name, fingerprint(model))


def fingerprint(model: ChatModel) -> str:
    """A short name of all that decides which tokens a seed gives: bundle, backend and device."""
    parts = (model.bundle.digest, model.backend, model.choice.device_names)
    return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def usage(generations: Sequence[Generation]) -> dict[str, Any]:
    """Tokens of one prompt and of its answers, thinking included."""
    prompt = generations[0].prompt_tokens
    new = sum(len(g.tokens) for g in generations)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
    }


def choice(index: int, generation: Generation) -> dict[str, Any]:
    """One answer of a whole reply."""
    message: dict[str, Any] = {"role": "assistant", "content": generation.text}
    for name in REASONING:
        message[name] = generation.thinking or None
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": generation.finish_reason,
    }


class Chunks:
    """The events of a streamed chat.

    Args:
        common: what they have in common.
        with_usage: whether the usage comes at the end.
    """

    def __init__(self, common: Frame, *, with_usage: bool) -> None:
        self._common, self._with_usage = common, with_usage
        head = json.dumps(common.whole("chat.completion.chunk"))
        self._head = f'data: {head[:-1]}, "choices": [{{"index": '

    def begin(self, index: int) -> bytes:
        """The first chunk of an answer."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """Chunks of what was generated since the last ones: one for what belongs together."""
        return b"".join(
            self._chunk(index, _delta(channel, "".join(piece.text for piece in group)))
            for channel, group in groupby(pieces, key=lambda piece: piece.channel)
        )

    def end(self, index: int, generation: Generation) -> bytes:
        """The last chunk of an answer."""
        return self._chunk(index, {}, generation.finish_reason)

    def last(self, generations: Sequence[Generation]) -> bytes:
        """What follows all answers: the usage, where the client asked for it, and the end."""
        if not self._with_usage:
            return DONE
        whole = self._common.whole("chat.completion.chunk", choices=[], usage=usage(generations))
        return event(whole) + DONE

    def _chunk(self, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        rest = json.dumps({"delta": delta, "logprobs": None, "finish_reason": finish_reason})
        return f"{self._head}{index}, {rest[1:]}]}}\n\n".encode()


def _delta(channel: str, text: str) -> dict[str, Any]:
    if channel == "reasoning":
        return dict.fromkeys(REASONING, text)
    return {"content": text}
