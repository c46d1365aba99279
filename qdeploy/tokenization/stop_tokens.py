"""The tokens that end an answer: one rule for every runtime.

A model names them in up to three files, and its chat template ends a turn with one. The rule is
that of transformers' `generate`: `eos_token_id` of `generation_config.json`, or of `config.json`
where there is no such file. Where these name none, the tokenizer's `eos_token` serves, which
`generate` would not stop at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qdeploy.errors import CheckpointError, PromptError
from qdeploy.tokenization.chat_template import ChatTemplate
from qdeploy.tokenization.generation_config import read_generation_config
from qdeploy.tokenization.text_files import (
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    TOKENIZER_CONFIG_FILE,
    TextFiles,
)

KEY = "eos_token_id"
MARK = "x7answer7x"
"""An answer that no template changes."""
TAG = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,40}\]")
"""How templates write a token that the tokenizer may or may not have."""


@dataclass(frozen=True)
class StopTokens:
    """The stop tokens, and the file that names them.

    Attributes:
        ids: in the file's order; empty where no file names any.
        source: the file; None where no file names any.
    """

    ids: tuple[int, ...]
    source: str | None


def stop_tokens(files: TextFiles, eos_id: int | None) -> StopTokens:
    """Find the tokens that end an answer; *eos_id* is the id of the tokenizer's `eos_token`.

    Raises:
        CheckpointError: a file is malformed.
    """
    for source, ids in _sources(files, eos_id).items():
        if ids:
            return StopTokens(ids, source)
    return StopTokens((), None)


def _sources(files: TextFiles, eos_id: int | None) -> dict[str, tuple[int, ...]]:
    """What each file names, the first one first."""
    return {
        GENERATION_CONFIG_FILE: read_generation_config(files.folder).stop_ids,
        CONFIG_FILE: _config_ids(files),
        TOKENIZER_CONFIG_FILE: () if eos_id is None else (eos_id,),
    }


def _config_ids(files: TextFiles) -> tuple[int, ...]:
    found = files.json(CONFIG_FILE).get(KEY)
    ids = found if isinstance(found, list) else [found]
    return tuple(i for i in ids if type(i) is int and i >= 0)


def check_stop_tokens(stops: StopTokens, files: TextFiles, size: int | None) -> None:
    """Check that all ids are below *size*, the number of tokens that the model knows, if given.

    Raises:
        CheckpointError: one is not.
    """
    beyond = [i for i in stops.ids if size is not None and i >= size]
    if beyond and stops.source:
        raise CheckpointError(
            f"{KEY}: {beyond[0]}; the vocabulary has {size} tokens",
            where=files.where(stops.source),
            fix=f"take {stops.source} and {CONFIG_FILE} from the same model",
        )


def stop_warnings(
    files: TextFiles,
    stops: StopTokens,
    eos_id: int | None,
    names: Mapping[str, int],
    template: ChatTemplate | None,
) -> Iterator[str]:
    """Warnings about stop tokens that are missing, or that the files disagree about.

    Args:
        files: of the model.
        stops: what `stop_tokens` found in them.
        eos_id: id of the tokenizer's `eos_token`, or None.
        names: id of every added token by its text.
        template: the model's chat template, or None.
    """
    texts = {number: f"{text} ({number})" for text, number in names.items()}
    if stops.ids:
        yield from _disagreements(files, stops, eos_id, texts)
    else:
        yield (
            "no file names a stop token, so an answer ends only at the limit of tokens; set "
            f'"{KEY}" in {GENERATION_CONFIG_FILE}'
        )
    if template and (end := end_of_turn(template, names)):
        yield from _end_warnings(end, names.get(end), stops)


def _disagreements(
    files: TextFiles, stops: StopTokens, eos_id: int | None, texts: Mapping[int, str]
) -> Iterator[str]:
    """What the files say that do not decide. *texts* are the added tokens by id, for messages."""

    def show(ids: Iterable[int]) -> str:
        return ", ".join(texts.get(i, str(i)) for i in ids)

    others = {
        source: [i for i in ids if i not in stops.ids]
        for source, ids in _sources(files, eos_id).items()
    }
    if named := "; ".join(f"{source} {show(ids)}" for source, ids in others.items() if ids):
        yield (
            f"answers end at {show(stops.ids)}, as {stops.source} says, but not at the end tokens "
            f"of {named}; {KEY} in {GENERATION_CONFIG_FILE} decides"
        )
    unset = stops.source == CONFIG_FILE and files.has(GENERATION_CONFIG_FILE)
    if unset or stops.source == TOKENIZER_CONFIG_FILE:
        yield (
            f"{GENERATION_CONFIG_FILE} names no stop token; {show(stops.ids)} of {stops.source} "
            "is used, which transformers' generate would not stop at"
        )


def _end_warnings(end: str, number: int | None, stops: StopTokens) -> Iterator[str]:
    """Warn if *end*, which the template ends turns with, stops no answer; *number* is its id."""
    if number is None:
        yield (
            f"the chat template ends a turn with {end}, which is no token of this tokenizer, so "
            "answers may not stop; take both from one and the same model"
        )
    elif number not in stops.ids:
        yield (
            f"the chat template ends a turn with {end}, which is no stop token, so answers may not "
            f'stop; add {number} to "{KEY}" in {GENERATION_CONFIG_FILE}'
        )


def end_of_turn(template: ChatTemplate, names: Mapping[str, int]) -> str | None:
    """The token that the template writes after an answer; None where it cannot be told.

    A text that looks like a token counts, even if the tokenizer has none of that name.
    """
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": MARK},
        {"role": "user", "content": "b"},
    ]
    try:
        rendered = template.render(turns, add_generation_prompt=False)
    except PromptError:
        return None
    _, found, after = rendered.partition(MARK)
    after = after.lstrip()
    if not found or not after:
        return None
    known = [text for text in names if after.startswith(text)]
    if known:
        return max(known, key=len)
    looks = TAG.match(after)
    return looks.group() if looks else None


def with_stop_tokens(generation: Mapping[str, Any], stops: StopTokens) -> dict[str, Any]:
    """The content of a `generation_config.json` that names the stop tokens, whatever file did."""
    found = generation.get(KEY)
    named = tuple(found) if isinstance(found, list) else (found,)
    agrees = named == stops.ids or not stops.ids
    return dict(generation) if agrees else {**generation, KEY: list(stops.ids)}
