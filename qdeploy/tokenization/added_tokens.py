"""Added tokens: those that are split off a text before anything else, e.g. `<|im_start|>`.

A model may list them in three files that need not agree. They are put together here as transformers
(5.5) and the tokenizers library (0.22) do it: an id in a file only orders its tokens, and a token
gets the id that the vocabulary has for it, or else the next free one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from qdeploy.tokenization.special_tokens import LISTED, SpecialTokens
from qdeploy.tokenization.text_files import (
    ADDED_TOKENS_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    TextFiles,
)

SHOWN = 3
"""Tokens that a warning names."""


@dataclass(frozen=True)
class AddedToken:
    """One token and how it is matched; fields are the files' own."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    @staticmethod
    def parse(entry: Mapping[str, Any]) -> AddedToken:
        """Read an entry of a file; what it leaves out is the library's default.

        Raises:
            ValueError: a field is of another type.
        """
        special = entry.get("special", False)
        token = AddedToken(
            entry["content"],
            entry.get("single_word", False),
            entry.get("lstrip", False),
            entry.get("rstrip", False),
            entry.get("normalized", not special),
            special,
        )
        fields = list(asdict(token).values())
        if not isinstance(fields[0], str) or not all(type(flag) is bool for flag in fields[1:]):
            raise ValueError(f"the added token {dict(entry)!r} is malformed")
        return token


class AddedTokens:
    """Added tokens by id, as the tokenizers library numbers them."""

    def __init__(self, vocab: Mapping[str, int]) -> None:
        self._vocab = vocab
        self._ids: dict[str, int] = {}
        self._tokens: dict[int, AddedToken] = {}

    def add(self, tokens: Iterable[AddedToken]) -> None:
        """Add tokens in order; one that is there takes the new flags."""
        for token in tokens:
            if not token.content:
                continue
            number = self._ids.get(token.content, self._vocab.get(token.content))
            self._ids[token.content] = self._next() if number is None else number
            self._tokens[self._ids[token.content]] = token

    def _next(self) -> int:
        return max(len(self._vocab), max(self._ids.values(), default=-1) + 1)

    @property
    def ids(self) -> Mapping[str, int]:
        return self._ids

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The list `added_tokens` of a `tokenizer.json`."""
        return [{"id": number, **asdict(self._tokens[number])} for number in sorted(self._tokens)]

    def __contains__(self, token: AddedToken) -> bool:
        number = self._ids.get(token.content)
        return number is not None and self._tokens[number] == token


Listed = Sequence[tuple[int, AddedToken]]
"""Tokens in the order of a file, each with the id that the file gives it."""


def stored_tokens(content: Mapping[str, Any]) -> Listed:
    """The added tokens of a `tokenizer.json`."""
    return [(entry["id"], AddedToken.parse(entry)) for entry in content.get("added_tokens") or []]


def listed_tokens(
    files: TextFiles,
    settings: Mapping[str, Any],
    special: SpecialTokens,
    stored: Listed,
) -> Listed:
    """The added tokens that the settings list, in the order of their ids.

    Settings of an older transformers list none: `added_tokens.json` and `tokenizer.json` do.
    """
    if LISTED in settings:
        tokens = {int(n): AddedToken.parse(entry) for n, entry in settings[LISTED].items()}
    else:
        older = files.json(ADDED_TOKENS_FILE).items()
        tokens = {
            n: AddedToken(text, normalized=text not in special.all, special=text in special.all)
            for text, n in older
        } | dict(stored)
    return sorted(tokens.items(), key=lambda item: item[0])


def merge(found: AddedTokens, listed: Listed, special: SpecialTokens) -> None:
    """Add the listed tokens and then the special ones to those of `tokenizer.json`."""
    named = set(special.named.values())
    missing = [token for _, token in listed if token not in found]
    known = {*found.ids, *(token.content for token in missing)}
    found.add(replace(t, special=t.special or t.content in named) for t in missing)
    found.add(AddedToken(text, special=True) for text in special.all if text not in known)


def added_token_warnings(
    files: TextFiles, stored: Listed, listed: Listed, found: AddedTokens
) -> Iterator[str]:
    """Warnings about tokens that only one file knows, or that files describe differently."""
    if files.has(TOKENIZER_FILE):
        yield from _differences(stored, found)
    for file, tokens in ((TOKENIZER_FILE, stored), (TOKENIZER_CONFIG_FILE, listed)):
        yield from _moved(file, tokens, found)


def _differences(stored: Listed, found: AddedTokens) -> Iterator[str]:
    """What the settings make of the tokens of `tokenizer.json`."""
    own = {token.content: token for _, token in stored if token.content}
    if lost := own.keys() - found.ids.keys():
        yield (
            f"{TOKENIZER_FILE} adds {some(lost)}, which {TOKENIZER_CONFIG_FILE} does not list: "
            f"read as plain text, as in transformers; list in {LISTED} there what the model knows"
        )
    if gained := found.ids.keys() - own.keys():
        ids = ", ".join(str(found.ids[text]) for text in sorted(gained)[:SHOWN])
        yield (
            f"the tokenizer's settings name {some(gained)}, which {TOKENIZER_FILE} does not add: "
            f"added as {ids}, as in transformers"
        )
    if other := [text for text, token in own.items() if text in found.ids and token not in found]:
        yield (
            f"{TOKENIZER_FILE} and {TOKENIZER_CONFIG_FILE} disagree whether {some(other)} is "
            "special or how it is matched: the latter decides, as in transformers"
        )


def _moved(file: str, tokens: Listed, found: AddedTokens) -> Iterator[str]:
    """Tokens that *file* gives another id than they get."""
    moved = {
        token.content: number
        for number, token in tokens
        if found.ids.get(token.content, number) != number
    }
    for text in sorted(moved)[:1]:
        more = f" and {len(moved) - 1} more other ids" if len(moved) > 1 else ""
        yield (
            f"{file} gives {text!r} the id {moved[text]}{more}: it gets {found.ids[text]}, the "
            "next free one, as in transformers"
        )


def some(tokens: Iterable[str]) -> str:
    """The first few tokens, quoted, and how many more there are."""
    ordered = sorted(tokens)
    shown = ", ".join(map(repr, ordered[:SHOWN]))
    return f"{shown} and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else shown
