"""Texts to score: passages of token ids from shipped texts, shipped chats, or a file."""

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
SHIPPED = {
    PROSE: "prose.txt", TASKS: "tasks.jsonl", "code": "code.txt", "mathematics": "mathematics.txt",
    "json": "json.txt", "multilingual": "multilingual.txt",
}  # fmt: skip
"""Files of the shipped texts, by name; texts/README.md describes them."""
ALL = "all"
"""Stands for every shipped text."""
WINDOW = 256
"""Tokens of a passage. With Qwen3's vocabulary of 151,936 its logits take 156 MB."""
WINDOWS = 8
PROMPT = 32
"""Tokens of a passage of prose that are the prompt for greedy decoding."""

T = TypeVar("T")


@dataclass(frozen=True)
class Passage:
    """Token ids that a model reads with an empty cache.

    Attributes:
        first: index of the first scored token, at least 1; `ids[first:]` are scored.
        prompt: number of leading ids that are the prompt for greedy decoding.
    """

    ids: tuple[int, ...]
    first: int
    prompt: int

    @property
    def scored(self) -> int:
        return len(self.ids) - self.first


@dataclass(frozen=True)
class Text:
    """Passages of one text.

    Attributes:
        sha256: of the text's bytes, in hex.
        chat: whether replies in it end with a stop token.
    """

    name: str
    sha256: str
    passages: tuple[Passage, ...]
    chat: bool = False

    def as_dict(self) -> dict[str, str | int]:
        """The text as written to results."""
        scored = sum(p.scored for p in self.passages)
        passages = len(self.passages)
        return {"name": self.name, "sha256": self.sha256, "tokens": scored, "passages": passages}


def expand_texts(names: Sequence[str], *, chats: bool) -> tuple[str, ...]:
    """The names, each once, with `all` replaced by every shipped text.

    Without *chats*, for a model that has no chat template, `all` leaves out the chats.
    """
    every = [name for name in SHIPPED if chats or name != TASKS]
    named = [every if name == ALL else [name] for name in names]
    return tuple(dict.fromkeys(name for some in named for name in some))


def read_passages(
    name: str, tokenizer: Tokenizer, *, window: int = WINDOW, windows: int | None = None
) -> Text:
    """Split a shipped text, or the file of that name, into passages.

    Args:
        name: of a shipped text, or a file.
        tokenizer: of the bundle.
        window: tokens of a passage of prose; a shorter rest is left out, unless it is the only
            passage.
        windows: maximum number of passages, spread evenly over the text. By default `WINDOWS` for
            prose, and every chat of the tasks.

    Raises:
        InputError: the file is missing, is not UTF-8, or has fewer than two tokens.
    """
    raw = read_bytes(name)
    digest = hashlib.sha256(raw).hexdigest()
    if name == TASKS:
        chats = spread_evenly(raw.decode().splitlines(), windows)
        return Text(name, digest, tuple(_chat(tokenizer, line) for line in chats), chat=True)
    try:
        ids = tokenizer.encode(raw.decode())
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text ({error.reason})",
            where=name,
            fix="save it as UTF-8, e.g. with iconv -f LATIN1 -t UTF-8",
        ) from None
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
    chosen = spread_evenly(whole, WINDOWS if windows is None else windows)
    return Text(Path(name).name, digest, tuple(_prose(prefix, piece) for piece in chosen))


def spread_evenly(items: Sequence[T], count: int | None) -> list[T]:
    """At most *count* of the items, evenly spaced from the first to the last."""
    if count is None or count >= len(items):
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def read_bytes(name: str) -> bytes:
    """The content of a shipped text, or of the file of that name.

    Raises:
        InputError: the file cannot be read.
    """
    if name in SHIPPED:
        return (files(__package__) / "texts" / SHIPPED[name]).read_bytes()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(
            f"the text cannot be read ({error.strerror})",
            where=name,
            fix=f"give a file, or one of {', '.join(SHIPPED)}, {ALL}",
        ) from None


def _prose(prefix: Sequence[int], ids: Sequence[int]) -> Passage:
    whole = (*prefix, *ids)
    return Passage(whole, max(1, len(prefix)), min(PROMPT, max(1, len(whole) // 2)))


def _chat(tokenizer: Tokenizer, line: str) -> Passage:
    """A question and its reply. Only the reply is scored, because the question is the user's."""
    row = json.loads(line)
    prompt = tokenizer.encode(tokenizer.render([{"role": "user", "content": row["question"]}]))
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    reply = (*tokenizer.encode(row["reply"]), *end)
    return Passage((*prompt, *reply), len(prompt), len(prompt))
