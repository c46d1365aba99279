"""Text to token ids and back, with the checkpoint's tokenizer, chat template and special tokens.

Every backend gets the ids made here, so answers differ only by the arithmetic of the runtime. Chat
templates are code that comes with models, and run in a sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as _Tokenizer

from qdeploy.errors import CheckpointError, PromptError
from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.generation_config import GenerationConfig, read_generation_config
from qdeploy.tokenization.tokenizer_file import TOKENIZER_FILE

Message = Mapping[str, str]
"""One turn of a chat: `role` and `content`."""

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
"""Keys of `tokenizer_config.json` that chat templates may refer to, as in transformers."""
THINK, END_THINK = "<think>", "</think>"
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer and chat template of a checkpoint or bundle folder."""

    folder: Path

    @cached_property
    def _inner(self) -> _Tokenizer:
        file = self.folder / TOKENIZER_FILE
        try:
            return _Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"not a tokenizer ({error})", where=file) from None

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_json(self.folder / "tokenizer_config.json")

    @cached_property
    def architecture(self) -> str | None:
        """Transformers' class name of the model by `config.json`; None where it names none."""
        file = self.folder / "config.json"
        names = read_json(file).get("architectures") if file.is_file() else None
        return str(names[0]) if isinstance(names, list) and names else None

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """The model's generation settings; all None where it has no such file."""
        return read_generation_config(self.folder)

    @cached_property
    def template(self) -> str:
        """Source of the chat template.

        Raises:
            CheckpointError: the model has none, so it is not a chat model.
        """
        source = find_chat_template(self.folder)
        if source is None:
            raise CheckpointError(
                "no chat template",
                where=self.folder,
                fix="add chat_template.jinja to the checkpoint, and export it again",
            )
        return source

    @property
    def has_thinking_switch(self) -> bool:
        return "enable_thinking" in self.template

    @property
    def vocab_size(self) -> int:
        size: int = self._inner.get_vocab_size(with_added_tokens=True)
        return size

    def encode(self, text: str) -> list[int]:
        """Token ids of *text*; special tokens written in it are recognized."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """Ids that the tokenizer puts before a plain text, such as Llama 3's `<|begin_of_text|>`.

        A rendered chat needs none: the template writes them.
        """
        plain = self.encode("a")
        whole: list[int] = self._inner.encode("a", add_special_tokens=True).ids
        return tuple(whole[: whole.index(plain[0])]) if plain else ()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of *ids* without special tokens; invalid UTF-8 becomes U+FFFD."""
        text: str = self._inner.decode(list(ids), skip_special_tokens=True)
        return text

    def id_of(self, token: str) -> int | None:
        found: int | None = self._inner.token_to_id(token)
        return found

    def render(self, messages: Sequence[Message], *, thinking: bool | None = None) -> str:
        """Render a chat, ready for the assistant's next turn.

        *thinking* sets the template's `enable_thinking`; None leaves the model's default.
        """
        extra = {} if thinking is None else {"enable_thinking": thinking}
        source = self.template
        try:
            template = environment().from_string(source)
            settings = {"add_generation_prompt": True, "tools": None, **self._special_tokens}
            return template.render(messages=list(messages), **settings, **extra)
        except Exception as error:  # a template is code that may raise anything
            raise PromptError(f"the chat template failed ({error})", where=self.folder) from None

    @cached_property
    def _special_tokens(self) -> dict[str, str]:
        """Text of `bos_token` and so on, which templates may write; see `SPECIAL_TOKENS`."""
        found = {}
        for name in SPECIAL_TOKENS:
            token = self._config.get(name)
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str):
                found[name] = text
        return found

    @property
    def eos_id(self) -> int | None:
        """Id of the token that the tokenizer's settings call `eos_token`, or None."""
        name = self._special_tokens.get("eos_token")
        return None if name is None else self.id_of(name)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: `eos_token_id` of generation_config, else the tokenizer's."""
        if ids := self.generation_config.stop_ids:
            return frozenset(ids)
        return frozenset() if self.eos_id is None else frozenset({self.eos_id})


class Detokenizer:
    """Decodes a stream of token ids into text as soon as characters are complete.

    A character may span several tokens (Chinese, emoji), and some tokenizers decode a token
    differently at the start of a text. So a piece is the difference of two decodings that share a
    few tokens of context. The pieces concatenated equal the decoding of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._context = 0  # where decoding starts
        self._sent = 0  # the text of tokens before this one has been returned

    def push(self, token: int) -> str:
        """Return the characters that *token* completes; empty while one is incomplete."""
        self._ids.append(token)
        piece = self._pending()
        if not piece or piece.endswith(REPLACEMENT):
            return ""
        self._context, self._sent = self._sent, len(self._ids)
        return piece

    def flush(self) -> str:
        """Return the rest, with incomplete characters as U+FFFD, and reset."""
        piece = self._pending()
        self._ids, self._context, self._sent = [], 0, 0
        return piece

    def _pending(self) -> str:
        before = self._tokenizer.decode(self._ids[self._context : self._sent])
        return self._tokenizer.decode(self._ids[self._context :])[len(before) :]


def environment() -> ImmutableSandboxedEnvironment:
    """The environment that chat templates are written for (as in transformers' chat templates)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
