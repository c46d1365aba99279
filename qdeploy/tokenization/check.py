"""Checks everything textual of a model before an export, and says what its files disagree about."""

from __future__ import annotations

from collections.abc import Iterator

from qdeploy.tokenization.chat_template import ChatTemplate, find_chat_template, template_warnings
from qdeploy.tokenization.generation_warnings import generation_warnings
from qdeploy.tokenization.stop_tokens import check_stop_tokens, stop_tokens, stop_warnings
from qdeploy.tokenization.text_files import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, TextFiles
from qdeploy.tokenization.tokenizer_file import TokenizerDescription, read_tokenizer
from qdeploy.tokenization.unread_files import unread_file_warnings
from qdeploy.tokenization.vocabulary import check_vocabulary


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
    return (
        *described.warnings,
        *unread_file_warnings(files, described),
        *_setting_warnings(described),
        *(_answer_warnings(files, described, size) if generates else ()),
    )


def _answer_warnings(
    files: TextFiles, described: TokenizerDescription, size: int | None
) -> Iterator[str]:
    """What concerns chats and answers."""
    yield from template_warnings(files)
    source = find_chat_template(files)
    template = (
        ChatTemplate(source, described.settings.special.named, files.folder) if source else None
    )
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
    if template and (fault := template.fault):
        yield f"the chat template cannot be read ({fault}), so qdeploy run will refuse prompts"
