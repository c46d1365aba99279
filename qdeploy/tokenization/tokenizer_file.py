"""`tokenizer.json` as transformers runs it: its own content, amended by the other files.

What transformers decides outside the file is written into the content, so that every runtime that
reads it makes the same ids: no truncation and no padding, the added tokens of all files, and the
steps that the tokenizer's class builds by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.added_tokens import (
    AddedToken,
    AddedTokens,
    Listed,
    added_token_warnings,
    listed_tokens,
    merge,
    stored_tokens,
)
from qdeploy.tokenization.built_steps import different_steps
from qdeploy.tokenization.slow_tokenizer import around_text, slow_tokenizer
from qdeploy.tokenization.special_tokens import (
    SpecialTokens,
    TokenSettings,
    read_settings,
    special_token_warnings,
    token_settings,
)
from qdeploy.tokenization.text_files import TOKENIZER_FILE, VOCAB_FILE, TextFiles
from qdeploy.tokenization.tokenizer_class import (
    AS_STORED,
    TokenizerClass,
    is_mislabelled,
    tokenizer_class,
)

FIX = "take the tokenizer's files and config.json from one and the same model"


@dataclass(frozen=True)
class TokenizerDescription:
    """A tokenizer, read from all its files.

    Attributes:
        content: of a `tokenizer.json` that the tokenizers library runs as transformers would.
        is_stored: whether the model's own file has this content.
        run_by: transformers' class.
        settings: what is done around that content.
        warnings: what the files disagree about.
    """

    content: dict[str, Any]
    is_stored: bool
    run_by: TokenizerClass
    settings: TokenSettings
    warnings: tuple[str, ...]

    @property
    def added_ids(self) -> dict[str, int]:
        """Id of every added token by its text."""
        return {token["content"]: token["id"] for token in self.content["added_tokens"]}

    def id_of(self, name: str) -> int | None:
        """Id of the token that the settings call *name*, e.g. `pad_token`; None for no such one."""
        return self.added_ids.get(self.settings.special.named.get(name, ""))

    @property
    def eos_id(self) -> int | None:
        """Id of the token that the settings call `eos_token`, or None."""
        return self.id_of("eos_token")


def read_tokenizer(files: TextFiles) -> TokenizerDescription:
    """Read the tokenizer of a checkpoint or a bundle.

    Raises:
        CheckpointError: a file is missing, malformed, or of another kind.
    """
    where = files.where(TOKENIZER_FILE if files.has(TOKENIZER_FILE) else VOCAB_FILE)
    try:
        return _describe(files)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"not a tokenizer ({type(error).__name__}: {error})", where=where, fix=FIX
        ) from None


def _describe(files: TextFiles) -> TokenizerDescription:
    settings = read_settings(files)
    named = tokenizer_class(files, settings)
    is_slow = not files.has(TOKENIZER_FILE)
    stored = slow_tokenizer(files, settings, named) if is_slow else files.json(TOKENIZER_FILE)
    chosen = AS_STORED if is_mislabelled(named, stored) else named
    around = token_settings(settings, _defaults(stored, chosen))
    special = around.special
    tokens = stored_tokens(stored)
    listed = listed_tokens(files, settings, special, tokens)
    content = {**stored, "truncation": None, "padding": None}
    steps = _steps(stored, settings, chosen)
    content |= steps
    added = _added(content["model"], tokens, listed, special, chosen)
    content["added_tokens"] = added.entries
    if is_slow:
        content["post_processor"] = around_text(settings, special, added.ids)
    warnings = (
        *special_token_warnings(files),
        *added_token_warnings(files, tokens, listed, added),
        *_step_warnings(steps, stored, chosen),
        *(_mislabelled(named) if chosen is not named else ()),
    )
    return TokenizerDescription(
        content,
        not is_slow and content == stored,
        chosen,
        around,
        warnings,
    )


def _defaults(stored: Mapping[str, Any], chosen: TokenizerClass) -> Mapping[str, str]:
    """Special tokens where the settings are silent: the class's; else the one that padding has."""
    if chosen.build or not stored.get("padding"):
        return chosen.defaults
    return {"pad_token": stored["padding"]["pad_token"]}


def _steps(
    stored: Mapping[str, Any], settings: Mapping[str, Any], chosen: TokenizerClass
) -> dict[str, Any]:
    """The steps that the class builds, where they give another result than those of the file."""
    model = stored["model"]
    if chosen.build is None or model.get("type") != "BPE":
        return {}
    built = chosen.build(model, settings)
    return built if different_steps(stored, built) else {}


def _added(
    model: Mapping[str, Any],
    stored: Listed,
    listed: Listed,
    special: SpecialTokens,
    chosen: TokenizerClass,
) -> AddedTokens:
    vocab = model["vocab"]
    if isinstance(vocab, list):  # a Unigram: pairs of a token and its score
        vocab = {token: number for number, (token, _) in enumerate(vocab)}
    added = AddedTokens(vocab)
    if chosen.build is None:
        added.add(token for _, token in stored)
    merge(added, listed, special)
    if chosen.marks_special:
        added.add(AddedToken(text, special=True) for text in special.all)
    return added


def _mislabelled(named: TokenizerClass) -> Iterator[str]:
    yield (
        f"{TOKENIZER_FILE} is byte-level, which a {named.name} is not: the file is used as it is, "
        "as in transformers 4, while transformers 5 loses spaces; tokenizer_class "
        '"PreTrainedTokenizerFast" in tokenizer_config.json says so to all'
    )


def _step_warnings(
    built: Mapping[str, Any], stored: Mapping[str, Any], chosen: TokenizerClass
) -> Iterator[str]:
    if built:
        yield (
            f"{TOKENIZER_FILE} has another {', '.join(different_steps(stored, built))} than "
            f"{chosen.name} builds: that class's is used, as in transformers 5; to use the file's, "
            'set tokenizer_class to "PreTrainedTokenizerFast" in tokenizer_config.json'
        )
