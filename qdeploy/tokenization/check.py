"""Checks everything textual of a model before an export, and says what its files disagree about."""

from __future__ import annotations

import json
from collections.abc import Iterator

from qdeploy.errors import PromptError
from qdeploy.tokenization.added_tokens import some
from qdeploy.tokenization.chat_template import ChatTemplate, find_chat_template, template_warnings
from qdeploy.tokenization.generation_warnings import generation_warnings
from qdeploy.tokenization.stop_tokens import check_stop_tokens, stop_tokens, stop_warnings
from qdeploy.tokenization.text_files import (
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    TextFiles,
)
from qdeploy.tokenization.tokenizer_file import TokenizerDescription, read_tokenizer
from qdeploy.tokenization.unread_files import unread_file_warnings
from qdeploy.tokenization.vocabulary import beyond, check_vocabulary

QUESTION = "x7question7x"
"""What a user says that no template changes, but for the case of its letters."""


def text_warnings(files: TextFiles, size: int | None, *, generates: bool = True) -> tuple[str, ...]:
    """Check tokenizer, chat template and stop tokens; return what a user must know about them.

    Args:
        files: of the model.
        size: the number of tokens that the model knows; None leaves the ids unchecked.
        generates: whether the model does; otherwise only its tokenizer matters.

    Raises:
        CheckpointError: a file is invalid, or inconsistent with another file.
    """
    described = read_tokenizer(files)
    check_vocabulary(described.content, files.where(TOKENIZER_FILE), size=size)
    template = _template(files, described) if generates else None
    return (
        *described.warnings,
        *unread_file_warnings(files, described),
        *(_beyond(files, described, size, template) if size is not None else ()),
        *_setting_warnings(described),
        *(_answer_warnings(files, described, size, template) if generates else ()),
    )


def _template(files: TextFiles, described: TokenizerDescription) -> ChatTemplate | None:
    source = find_chat_template(files)
    named = described.settings.special.named
    return ChatTemplate(source, named, files.folder) if source else None


def _beyond(
    files: TextFiles, described: TokenizerDescription, size: int, template: ChatTemplate | None
) -> Iterator[str]:
    """Added tokens that the model has no row for: a mistake only where a prompt needs one.

    Raises:
        CheckpointError: the chat template or the post-processor writes one.
    """
    unknown = {text: number for text, number in described.added_ids.items() if number >= size}
    around = json.dumps(described.content.get("post_processor"), ensure_ascii=False)
    written = f"{template.source if template else ''}{around}"
    for text, number in unknown.items():
        if text in written:
            raise beyond(text, number, size, files.where(TOKENIZER_FILE))
    if unknown:
        yield (
            f"the tokenizer knows {some(unknown)}, with ids from {min(unknown.values())}; the "
            f"model knows {size} tokens, and a prompt with one of these is refused"
        )


def _answer_warnings(
    files: TextFiles,
    described: TokenizerDescription,
    size: int | None,
    template: ChatTemplate | None,
) -> Iterator[str]:
    """What concerns chats and answers."""
    yield from template_warnings(files)
    yield from _chat_warnings(template)
    stops = stop_tokens(files, described.eos_id)
    check_stop_tokens(stops, files, size)
    yield from generation_warnings(files.folder)
    yield from stop_warnings(files, stops, described.eos_id, described.added_ids, template)


def _setting_warnings(described: TokenizerDescription) -> Iterator[str]:
    if described.settings.splits_special:
        yield (
            f"{TOKENIZER_CONFIG_FILE} sets split_special_tokens: special tokens in a prompt "
            "are read as plain text, those of the chat template included, as in transformers"
        )


def _chat_warnings(template: ChatTemplate | None) -> Iterator[str]:
    if template is None:
        return
    if fault := template.fault:
        yield f"the chat template cannot be read ({fault}), so qdeploy run will refuse prompts"
        return
    try:
        rendered = template.render([{"role": "user", "content": QUESTION}])
    except PromptError as error:
        yield f"{error.what}, if it is one question; qdeploy run will refuse such prompts"
    else:
        if QUESTION not in rendered.casefold():
            yield (
                "the chat template leaves out what a user says, so answers are about nothing; as "
                f"{TEMPLATE_FILE}, save one that takes texts as they are, not lists of parts"
            )
