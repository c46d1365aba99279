"""Chats with servers that take text: deltas of the answer, and the server's own count of tokens."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from qdeploy.engines.chunks import Usage, read_usage
from qdeploy.engines.client import EngineClient
from qdeploy.engines.faults import ended_early, garbage

REASONING = ("reasoning", "reasoning_content")
"""Names of the thinking: vLLM's today, and that of DeepSeek and most others."""


@dataclass(frozen=True)
class Delta:
    """A part of an answer.

    Attributes:
        timestamp: `time.perf_counter()` seconds at which it arrived.
        reasoning, content: characters of the thinking, and of the answer after it.
        finish_reason: why the answer ends, in the last but for usage.
        usage: in the last, where the server counts.
    """

    timestamp: float
    reasoning: str = ""
    content: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


def chat(client: EngineClient, body: Mapping[str, Any]) -> Generator[Delta, None, None]:
    """Yield the deltas of an answer to a request to /chat/completions; close it to cancel.

    Raises:
        QdeployError: the server refuses, fails or goes away, or what it sends is no answer.
    """
    url = f"{client.address.api}/chat/completions"
    wanted = {**body, "stream": True, "stream_options": {"include_usage": True}}
    finished = False
    with closing(client.events(url, wanted)) as events:
        for event in events:
            delta = _read(event, time.perf_counter(), url)
            finished = finished or delta.finish_reason is not None
            yield delta
    if not finished:
        raise ended_early(url)


def _read(event: Mapping[str, Any], timestamp: float, where: str) -> Delta:
    choices = event.get("choices")
    if not isinstance(choices, list):
        raise garbage(where, "an event without choices")
    usage = read_usage(event.get("usage"), where)
    if not choices:
        return Delta(timestamp, usage=usage)
    choice = choices[0]
    delta = choice.get("delta") if isinstance(choice, dict) else None
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    if not isinstance(delta, dict) or not isinstance(reason, str | None):
        raise garbage(where, "a choice without a delta")
    texts = [delta.get(name) or "" for name in (*REASONING, "content")]
    if not all(isinstance(text, str) for text in texts):
        raise garbage(where, "a text that is no string")
    *thoughts, content = texts
    thinking = next((text for text in thoughts if text), "")  # some servers send both names
    return Delta(timestamp, thinking, content, reason, usage)
