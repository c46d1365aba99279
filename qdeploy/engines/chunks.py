"""What one event of a stream of /completions says, checked: a peer sends it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from qdeploy.engines.faults import garbage

BY_ID = "token_id:"
"""How vLLM spells tokens in log-probabilities where `return_tokens_as_token_ids` is asked for."""


@dataclass(frozen=True)
class Usage:
    """Tokens of a request, as the engine counts them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class LogProb:
    """What an engine says of the place of one token.

    Attributes:
        chosen: log-probability of the token that was drawn, in nats.
        most_probable: (id, log-probability) of the tokens that it names, most probable first.
    """

    chosen: float
    most_probable: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Chunk:
    """A part of an answer.

    Attributes:
        timestamp: `time.perf_counter()` seconds at which it arrived.
        text: its characters, as the engine detokenizes.
        token_ids: its tokens; None where the engine tells none.
        logprobs: one for each token; empty unless they were asked for.
        prompt_token_ids: the prompt as the engine took it, in the first chunk of some engines.
        finish_reason: why the answer ends, in its last chunk.
        usage: in the last chunk, where the engine counts.
    """

    timestamp: float
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[LogProb, ...] = ()
    prompt_token_ids: tuple[int, ...] | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


def read_chunk(event: Mapping[str, Any], timestamp: float, where: str) -> Chunk:
    """Return what an event of /completions says, or its whole answer.

    Raises:
        GenerationFailed: it has not the shape that OpenAI's API has.
    """
    choices = event.get("choices")
    if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices[:1]):
        raise garbage(where, "an event without choices")
    usage = read_usage(event.get("usage"), where)
    if not choices:
        return Chunk(timestamp, usage=usage)
    choice = choices[0]
    text, reason = choice.get("text") or "", choice.get("finish_reason")
    if not isinstance(text, str) or not (reason is None or isinstance(reason, str)):
        raise garbage(where, "a text or a finish_reason that is no string")
    ids = _ids(choice.get("token_ids"), where)
    logprobs = _logprobs(choice.get("logprobs"), where)
    prompt = _ids(choice.get("prompt_token_ids"), where)
    return Chunk(timestamp, text, ids, logprobs, prompt, reason, usage)


def _ids(value: object, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(is_count, value)):
        raise garbage(where, "token ids that are no whole numbers")
    return tuple(value)


def read_usage(value: object, where: str) -> Usage | None:
    """Return the usage of an event, None where it has none.

    Raises:
        GenerationFailed: it has not the shape that OpenAI's API has.
    """
    if value is None:
        return None
    if isinstance(value, dict):
        prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens", 0)
        if is_count(prompt) and is_count(completion):
            return Usage(prompt, completion)
    raise garbage(where, "a usage without whole numbers")


def _logprobs(value: object, where: str) -> tuple[LogProb, ...]:
    """Read the lists `token_logprobs` and `top_logprobs`."""
    if value is None:
        return ()
    fault = garbage(where, "log-probabilities of another shape")
    if not isinstance(value, dict):
        raise fault
    chosen, tops = value.get("token_logprobs"), value.get("top_logprobs")
    if not isinstance(chosen, list) or not isinstance(tops, list) or len(tops) != len(chosen):
        raise fault
    read = []
    for logprob, top in zip(chosen, tops, strict=True):
        if not is_number(logprob) or not isinstance(top, dict | None):
            raise fault
        found = [(token_id(name, where), p) for name, p in (top or {}).items() if is_number(p)]
        ordered = sorted(found, key=lambda pair: -pair[1])
        read.append(LogProb(float(logprob), tuple((i, float(p)) for i, p in ordered)))
    return tuple(read)


def token_id(name: str, where: str) -> int:
    """Return the id in a token's name, `token_id:ID`.

    Raises:
        GenerationFailed: the engine names tokens by their text, which is not unique.
    """
    digits = name.removeprefix(BY_ID)
    if digits == name or not (digits.isascii() and digits.isdecimal()) or len(digits) > 10:
        raise garbage(where, f"a token named {name[:40]!r} where its id was asked for")
    return int(digits)


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number from 0 up, and of a size that numbers of tokens have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float holds, and not a truth value, which Python counts too."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -sys.float_info.max <= value <= sys.float_info.max
    )
