"""The tokens that a tokenizer's settings name: `bos_token`, `eos_token` and so on.

The names and the precedence are those of transformers' `tokenization_utils_base.py` (5.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qdeploy.tokenization.text_files import (
    SPECIAL_TOKENS_FILE,
    TOKENIZER_CONFIG_FILE,
    TextFiles,
)

NAMES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip
LISTED = "added_tokens_decoder"
"""The settings' own table of added tokens. With it, transformers reads no older file."""
EXTRA, OLD_EXTRA = "extra_special_tokens", "additional_special_tokens"


@dataclass(frozen=True)
class SpecialTokens:
    """What a tokenizer's settings call special.

    Attributes:
        named: text of every named token that is set, by its name, in transformers' order.
        extra: further special tokens.
    """

    named: Mapping[str, str]
    extra: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every token once: the named ones, then the others."""
        return tuple(dict.fromkeys((*self.named.values(), *self.extra)))


@dataclass(frozen=True)
class TokenSettings:
    """What transformers does around the tokenizer of a `tokenizer.json`.

    Attributes:
        special: the tokens that the settings name.
        splits_special: special tokens in a text are read as plain text.
        cleans_spaces: decoding removes spaces before punctuation.
    """

    special: SpecialTokens
    splits_special: bool
    cleans_spaces: bool


def token_settings(settings: Mapping[str, Any], defaults: Mapping[str, str]) -> TokenSettings:
    """Read *settings*; *defaults* are as in `special_tokens`."""
    return TokenSettings(
        special_tokens(settings, defaults),
        settings.get("split_special_tokens") is True,
        settings.get("clean_up_tokenization_spaces") is True,
    )


def token_text(token: object) -> str | None:
    """Text of a token in a settings file, where it is a string or an object; else None."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def read_settings(files: TextFiles) -> dict[str, Any]:
    """The content of `tokenizer_config.json`, and of the older file that amends it.

    Raises:
        CheckpointError: a file is not a JSON object.
    """
    settings = files.json(TOKENIZER_CONFIG_FILE)
    if OLD_EXTRA in settings:
        settings.setdefault(EXTRA, settings.pop(OLD_EXTRA))
    if LISTED in settings:
        return settings
    older = files.json(SPECIAL_TOKENS_FILE)
    one, other = settings.get(EXTRA), older.get(EXTRA)
    if isinstance(one, list) and isinstance(other, list):
        older[EXTRA] = [*one, *other]
    return settings | older


def special_tokens(settings: Mapping[str, Any], defaults: Mapping[str, str]) -> SpecialTokens:
    """The special tokens of *settings*; *defaults* are the class's, for names that are not there.

    A name that is there and null is a token that is not set.
    """
    extra = settings.get(EXTRA, settings.get(OLD_EXTRA))  # the older file may have the old name
    further = [name for name in settings if name.endswith("_token") and name not in NAMES]
    found = {name: token_text(settings.get(name, defaults.get(name))) for name in NAMES}
    found |= {name: token_text(settings[name]) for name in further}
    if isinstance(extra, dict):
        found |= {str(name): token_text(token) for name, token in extra.items()}
        extra = []
    texts = [token_text(token) for token in extra or []]
    return SpecialTokens(
        {name: text for name, text in found.items() if text is not None},
        tuple(text for text in texts if text is not None),
    )


def special_token_warnings(files: TextFiles) -> Iterator[str]:
    """Warnings about named tokens that the two files of settings name differently."""
    settings, older = files.json(TOKENIZER_CONFIG_FILE), files.json(SPECIAL_TOKENS_FILE)
    wins = TOKENIZER_CONFIG_FILE if LISTED in settings else SPECIAL_TOKENS_FILE
    for name in NAMES:
        one, other = token_text(settings.get(name)), token_text(older.get(name))
        if name in settings and name in older and one != other:
            yield (
                f"{name} is {one!r} in {TOKENIZER_CONFIG_FILE} and {other!r} in "
                f"{SPECIAL_TOKENS_FILE}: the one in {wins} is used, as in transformers"
            )
