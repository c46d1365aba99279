"""The text side: chats rendered and tokenized by transformers, and by the bundle's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qdeploy.errors import CheckpointError, QdeployError
from qdeploy.tokenization.tokenizer import Message, Tokenizer
from qdeploy.verification.libraries import quiet, reason, require
from qdeploy.verification.outcome import Check

PART = "text"
AROUND = 20
"""Characters shown before and after the place where two texts part."""
SYSTEM: Message = {"role": "system", "content": "You are a helpful assistant."}
ASKED: Message = {"role": "user", "content": "What is 48261 + 7354?"}
THOUGHT: Message = {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\nIt is 55615."}
PLAIN: Message = {"role": "assistant", "content": "It is 55615."}
NEXT: Message = {"role": "user", "content": "And doubled?"}

T = TypeVar("T")


@dataclass(frozen=True)
class Chat:
    """A chat to render; *thinking* as in `Tokenizer.render`."""

    name: str
    messages: tuple[Message, ...]
    thinking: bool | None = None


def _said(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


CHATS = (
    Chat("one turn", (ASKED,)),
    Chat("thinking on", (ASKED,), thinking=True),
    Chat("thinking off", (ASKED,), thinking=False),
    Chat("system", (SYSTEM, ASKED)),
    Chat("two turns", (ASKED, PLAIN, NEXT)),
    Chat("two turns, the first with thinking", (SYSTEM, ASKED, THOUGHT, NEXT), thinking=True),
    Chat("two turns, thinking off", (ASKED, THOUGHT, NEXT), thinking=False),
    Chat("unicode", _said("汉字, ünïcödé, e\u0301, 🚀👩‍🚀, \u200bzero width, العربية")),
    Chat("white space", _said("  leading\n\n\n\ttabs \r\n and trailing  ")),
    Chat("code", _said("def f(x):\n    return {'a': x[0] <= 3 && '\\n'}  # 1_000.5e-3\n")),
    Chat("text of special tokens", _said("<|im_end|><|im_start|>system\n<think></think><s></s>")),
    Chat("markup", _said('{{ 7 * 7 }} {% raw %} <a href="x">&amp;</a>')),
    Chat("nothing", _said("")),
    Chat("long", _said("The quick brown fox jumps over the lazy dog. " * 20)),
)
"""Kinds of chats in which templates and tokenizers are known to differ."""


class Peer:
    """The tokenizer as transformers loads it."""

    def __init__(self, folder: Path, *, template: str | None = None) -> None:
        """Load it from *folder*; a chat *template* replaces its own.

        Raises:
            CheckpointError: transformers cannot.
            TargetUnavailable: transformers is not installed.
        """
        with quiet():
            try:
                self.tokenizer: Any = require("transformers").AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
            except Exception as error:  # whatever a library raises
                raise CheckpointError(
                    f"transformers cannot load its tokenizer ({reason(error)})", where=folder
                ) from None
        if template is not None:
            self.tokenizer.chat_template = template

    def render(self, chat: Chat) -> str:
        extra = {} if chat.thinking is None else {"enable_thinking": chat.thinking}
        with quiet():
            return str(
                self.tokenizer.apply_chat_template(
                    [dict(m) for m in chat.messages],
                    tokenize=False,
                    add_generation_prompt=True,
                    **extra,
                )
            )

    def chat_ids(self, text: str) -> list[int]:
        """Ids of a rendered chat, as `apply_chat_template` makes them."""
        return self._ids(text, add_special_tokens=False)

    def plain_ids(self, text: str) -> list[int]:
        """Ids of a text that is no chat."""
        return self._ids(text, add_special_tokens=True)

    def decode(self, ids: Sequence[int]) -> str:
        with quiet():
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        with quiet():
            found = self.tokenizer(
                text, padding=False, truncation=False, add_special_tokens=add_special_tokens
            )
        return list(found["input_ids"])


@dataclass
class Comparison:
    """Counts the cases of one check, and keeps the first difference."""

    name: str
    unit: str
    cases: int = 0
    failure: str | None = field(default=None)

    def add(self, case: str, difference: str | None) -> None:
        self.cases += 1
        if difference and self.failure is None:
            self.failure = f"{case}: {difference}"

    def check(self) -> Check:
        return Check(PART, self.name, f"{self.cases} {self.unit}", self.failure)


def compare_text(bundle: Path, peer: Peer) -> tuple[list[Check], list[tuple[int, ...]]]:
    """Compare the tokenizer of *bundle* with transformers' one.

    Returns:
        The checks, and transformers' token ids of every text, for the comparison of the models.
    """
    own = Tokenizer(bundle)
    rendered = Comparison("rendered chats", "chats")
    chats = Comparison("token ids of chats", "chats")
    plain = Comparison("token ids of plain text", "texts")
    decoded = Comparison("decoded text", "texts")
    passages: list[tuple[int, ...]] = []
    for chat in CHATS:
        theirs, ours = _attempt(peer.render, chat), _attempt(_rendering(own), chat)
        rendered.add(chat.name, _differing_text(theirs, ours))
        if isinstance(theirs, str):
            ids = peer.chat_ids(theirs)
            chats.add(chat.name, differing_ids(ids, own.encode(theirs), peer.tokenizer))
            passages.append(tuple(ids))
    for chat in CHATS:
        text = chat.messages[-1]["content"]
        ids = peer.plain_ids(text)
        plain.add(chat.name, differing_ids(ids, own.encode(text, special=True), peer.tokenizer))
        decoded.add(chat.name, _differing_text(peer.decode(ids), own.decode(ids)))
        passages.append(tuple(ids))
    made = [c.check() for c in (rendered, chats, plain, decoded) if c.cases]
    return made, [ids for ids in dict.fromkeys(passages) if ids]


def compare_stops(bundle: Path, stops: Iterable[int], peer: Peer) -> Check:
    """Compare the tokens that end an answer with those of transformers' generation config."""
    ours, theirs = Tokenizer(bundle).stop_ids, frozenset(stops)
    names = ", ".join(_named(token, peer.tokenizer) for token in sorted(ours)) or "none"
    failure = None
    if lost := theirs - ours:
        failure = f"the bundle does not stop at {_named(min(lost), peer.tokenizer)}"
    elif not theirs and ours:
        names += "; transformers' generate has none, and stops at no token"
    elif added := ours - theirs:
        failure = f"transformers does not stop at {_named(min(added), peer.tokenizer)}"
    return Check(PART, "stop tokens", names, failure)


@dataclass(frozen=True)
class Refused:
    """A text that could not be made, and why."""

    why: str


def _rendering(tokenizer: Tokenizer) -> Callable[[Chat], str]:
    return lambda chat: tokenizer.render(chat.messages, thinking=chat.thinking)


def _attempt(make: Callable[[Chat], str], chat: Chat) -> str | Refused:
    """The text, or why there is none: templates refuse some chats on purpose."""
    try:
        return make(chat)
    except QdeployError as error:
        return Refused(error.what)
    except Exception as error:  # a template is code that may raise anything
        return Refused(reason(error))


def _differing_text(theirs: str | Refused, ours: str | Refused) -> str | None:
    """Where two texts part, or None. Two refusals are the same, whatever their words."""
    if isinstance(theirs, Refused):
        refused = f"transformers refuses it ({theirs.why}), the bundle does not"
        return None if isinstance(ours, Refused) else refused
    if isinstance(ours, Refused):
        return f"the bundle refuses it ({ours.why}), transformers does not"
    place = first_difference(theirs, ours)
    if place is None:
        return None
    cut = slice(max(0, place - AROUND), place + AROUND)
    return f"from character {place} on, transformers has {theirs[cut]!r}, the bundle {ours[cut]!r}"


def differing_ids(theirs: Sequence[int], ours: Sequence[int], tokenizer: Any) -> str | None:
    """Where two lists of token ids part, or None."""
    place = first_difference(theirs, ours)
    if place is None:
        return None
    there, here = (
        _named(ids[place], tokenizer) if place < len(ids) else "the end" for ids in (theirs, ours)
    )
    return (
        f"at token {place} of {len(theirs)}, transformers has {there}, "
        f"the bundle (of {len(ours)}) {here}"
    )


def first_difference(a: Sequence[T], b: Sequence[T]) -> int | None:
    """Index of the first item that differs, or at which one ends; None if they are equal."""
    if len(a) == len(b) and a == b:
        return None
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _named(token: int, tokenizer: Any) -> str:
    return f"{token} ({tokenizer.convert_ids_to_tokens(token)!r})"
