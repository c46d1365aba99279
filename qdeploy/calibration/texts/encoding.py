"""Records as tokens: chats as the model's template renders them, texts as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from qdeploy.calibration.texts.text_records import Record
from qdeploy.errors import InputError, PromptError
from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.messages import for_template
from qdeploy.tokenization.tokenizer import Message, Tokenizer


@dataclass(frozen=True)
class RecordEncoder:
    """Makes tokens of records for one model."""

    tokenizer: Tokenizer

    @cached_property
    def template(self) -> str | None:
        """The source of the chat template, or None.

        Raises:
            CheckpointError: a file of the tokenizer is malformed.
        """
        return find_chat_template(self.tokenizer.files)

    def check(self, record: Record) -> Sequence[Message]:
        """The turns of a chat as the model's template takes them.

        Raises:
            InputError: the model has no template, or a message is malformed.
        """
        if self.template is None:
            raise InputError(
                "a chat ('messages'), and the model has no chat template",
                where=record.where,
                fix="give records with 'text' in place of 'messages'",
            )
        try:
            return for_template(record.messages, self.template)
        except PromptError as error:
            what = f"{error.where} {error.what}" if error.where else error.what
            raise InputError(what, where=record.where, fix=error.fix) from None

    def encode(self, record: Record) -> list[int]:
        """Tokens of a record: of a chat all turns, the assistant's answers included.

        Raises:
            InputError: the chat is malformed, or the template does not take it.
        """
        if record.text is not None:
            return [*self.tokenizer.prefix, *self.tokenizer.encode(record.text)]
        messages = self.check(record)
        try:
            rendered = self.tokenizer.render(messages, add_generation_prompt=False)
        except PromptError as error:
            fix = error.fix or "give the turns that the model's chat template takes, or 'text'"
            raise InputError(error.what, where=record.where, fix=fix) from None
        return self.tokenizer.encode(rendered)

    def encode_anyway(self, record: Record) -> list[int]:
        """Like `encode`, but a chat that the template does not take becomes plain text."""
        if record.text is None and self.template is not None:
            with contextlib.suppress(InputError):
                return self.encode(record)
        if record.text is None:
            plain = "\n\n".join(str(turn.get("content") or "") for turn in record.messages)
            return self.encode(Record(record.where, text=plain))
        return self.encode(record)
