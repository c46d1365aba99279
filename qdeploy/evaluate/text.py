"""What is scored: passages of token ids, made from shipped prose, shipped chats, or a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from qdeploy.errors import InputError
from qdeploy.tokenization.tokenizer import Tokenizer

PROSE, TASKS = "prose", "tasks"
SHIPPED = {PROSE: "prose.txt", TASKS: "tasks.jsonl"}
WINDOW = 256
"""Tokens of a passage. At Qwen3's 151,936 tokens its logits take 156 MB."""
WINDOWS = 8
PROMPT = 32
"""Tokens of a passage of prose that greedy decoding goes on from."""

T = TypeVar("T")


@dataclass(frozen=True)
class Passage:
    """Token ids that a model reads from an empty cache.

    Attributes:
        first: predictions of `ids[first:]` are scored; at least 1.
        prompt: how many of the ids greedy decoding goes on from.
    """

    ids: tuple[int, ...]
    first: int
    prompt: int

    @property
    def scored(self) -> int:
        return len(self.ids) - self.first


@dataclass(frozen=True)
class Text:
    """Attributes:
    sha256: of the text before it was cut into tokens, in hex.
    chat: whether an answer in it ends with a stop token.
    """

    name: str
    sha256: str
    passages: tuple[Passage, ...]
    chat: bool = False

    def as_dict(self) -> dict[str, str | int]:
        """As results state it."""
        scored = sum(p.scored for p in self.passages)
        passages = len(self.passages)
        return {"name": self.name, "sha256": self.sha256, "tokens": scored, "passages": passages}


def read_passages(
    name: str, tokenizer: Tokenizer, *, window: int = WINDOW, windows: int | None = None
) -> Text:
    """Cut a shipped text, or the file of that name, into passages.

    Args:
        name: `prose`, `tasks`, or a file.
        tokenizer: of the bundle.
        window: tokens of a passage of prose; a rest that is shorter is left out, unless it is all.
        windows: at most so many passages, spread evenly over the text. By default `WINDOWS` of
            prose, and every chat of the tasks.

    Raises:
        InputError: no such file, not UTF-8, or fewer than two tokens.
    """
    raw = _bytes(name)
    digest = hashlib.sha256(raw).hexdigest()
    if name == TASKS:
        chats = spread(raw.decode().splitlines(), windows)
        return Text(name, digest, tuple(_chat(tokenizer, line) for line in chats), chat=True)
    try:
        ids = tokenizer.encode(raw.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason})", where=name) from None
    if len(ids) < 2:
        raise InputError(
            f"a text of {len(ids)} tokens; a prediction needs one before it and one to compare",
            where=name,
            fix="give a text of a few hundred words",
        )
    prefix = tokenizer.prefix
    step = max(1, window - len(prefix))
    pieces = [ids[at : at + step] for at in range(0, len(ids), step)]
    whole = [piece for piece in pieces if len(piece) == step] or pieces[:1]
    chosen = spread(whole, WINDOWS if windows is None else windows)
    return Text(Path(name).name, digest, tuple(_prose(prefix, piece) for piece in chosen))


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """At most *count* of the items, from the first to the last, evenly."""
    if count is None or count >= len(items):
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _bytes(name: str) -> bytes:
    if name in SHIPPED:
        return (files(__package__) / "texts" / SHIPPED[name]).read_bytes()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(
            f"the text cannot be read ({error.strerror})",
            where=name,
            fix=f"give a file, or one of {', '.join(SHIPPED)}",
        ) from None


def _prose(prefix: Sequence[int], ids: Sequence[int]) -> Passage:
    whole = (*prefix, *ids)
    return Passage(whole, max(1, len(prefix)), min(PROMPT, max(1, len(whole) // 2)))


def _chat(tokenizer: Tokenizer, line: str) -> Passage:
    """A question and its reply, of which only the reply is scored: the question is anyone's."""
    row = json.loads(line)
    prompt = tokenizer.encode(tokenizer.render([{"role": "user", "content": row["question"]}]))
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    reply = (*tokenizer.encode(row["reply"]), *end)
    return Passage((*prompt, *reply), len(prompt), len(prompt))
