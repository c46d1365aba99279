"""Text to token ids and back, with the model's tokenizer, chat template and special tokens.

Every backend gets the ids made here, so answers differ only by the arithmetic of the runtime.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as _Tokenizer

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.chat_template import ChatTemplate, Message, require_chat_template
from qdeploy.tokenization.clean_up import clean_up
from qdeploy.tokenization.generation_config import GenerationConfig, read_generation_config
from qdeploy.tokenization.special_tokens import TokenSettings, read_settings, token_settings
from qdeploy.tokenization.stop_tokens import stop_tokens
from qdeploy.tokenization.text_files import CONFIG_FILE, TOKENIZER_FILE, TextFiles, find_text_files
from qdeploy.tokenization.token_bytes import token_bytes
from qdeploy.tokenization.tokenizer_class import tokenizer_class
from qdeploy.tokenization.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qdeploy.tokenization.chat_template import RenderOptions

__all__ = ["END_THINK", "THINK", "Message", "Tokenizer"]

THINK, END_THINK = "<think>", "</think>"


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer and chat template of a checkpoint or bundle folder.

    Attributes:
        folder: where the files are.
        prepared: `tokenizer.json` is as an export writes it, so that no other file changes what it
            does. Reading it is left to the library then, which takes less memory.
    """

    folder: Path
    prepared: bool = False

    @cached_property
    def files(self) -> TextFiles:
        return find_text_files(self.folder)

    @cached_property
    def _settings(self) -> TokenSettings:
        if not self.prepared:
            return read_tokenizer(self.files).settings
        settings = read_settings(self.files)
        return token_settings(settings, tokenizer_class(self.files, settings).defaults)

    @cached_property
    def _inner(self) -> _Tokenizer:
        file = self.files.where(TOKENIZER_FILE)
        described = None if self.prepared else read_tokenizer(self.files)
        try:
            if described is None or described.is_stored:
                inner = _Tokenizer.from_file(str(file))
            else:
                inner = _Tokenizer.from_str(json.dumps(described.content))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"not a tokenizer ({error})", where=file) from None
        inner.encode_special_tokens = self._settings.splits_special
        inner.no_truncation()  # of bundles that an older version wrote
        inner.no_padding()
        return inner

    @cached_property
    def model_config(self) -> Mapping[str, Any]:
        """The content of the model's `config.json`."""
        return self.files.json(CONFIG_FILE)

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """The model's generation settings; all None where it has no such file."""
        return read_generation_config(self.folder)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The chat template.

        Raises:
            CheckpointError: the model has none, so it is not a chat model.
        """
        source = require_chat_template(self.files)
        return ChatTemplate(source, self.special_tokens, self.folder)

    @property
    def has_thinking_switch(self) -> bool:
        return self.chat_template.has_thinking_switch

    @property
    def vocab_size(self) -> int:
        size: int = self._inner.get_vocab_size(with_added_tokens=True)
        return size

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of *text*; special tokens written in it are recognized.

        *special* adds those that the tokenizer puts around a plain text: Qwen3-Embedding's ends one
        with `<|endoftext|>`, whose state is the embedding. A rendered chat needs none: its template
        writes them.
        """
        ids: list[int] = self._inner.encode(text, add_special_tokens=special).ids
        return ids

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """Ids that the tokenizer puts before a plain text, as Llama 3's `<|begin_of_text|>`."""
        plain, whole = self.encode("a"), self.encode("a", special=True)
        return tuple(whole[: whole.index(plain[0])]) if plain else ()

    @property
    def cleans_spaces(self) -> bool:
        """Whether decoding removes spaces before punctuation."""
        return self._settings.cleans_spaces

    def decode(self, ids: Sequence[int]) -> str:
        """Text of *ids* without special tokens; invalid UTF-8 becomes U+FFFD."""
        text = self.decode_raw(ids)
        return clean_up(text) if self.cleans_spaces else text

    def decode_raw(self, ids: Sequence[int]) -> str:
        """Like `decode`, before any spaces are removed."""
        text: str = self._inner.decode(list(ids), skip_special_tokens=True)
        return text

    def id_of(self, token: str) -> int | None:
        found: int | None = self._inner.token_to_id(token)
        return found

    def render(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool | None = None,
        **further: Unpack[RenderOptions],
    ) -> str:
        """Render a chat, ready for the assistant's next turn; see `ChatTemplate.render`."""
        return self.chat_template.render(messages, thinking=thinking, **further)

    def token_text(self, token: int) -> tuple[str, bytes]:
        r"""Text and bytes of one token, special ones included.

        A token that holds only a part of a character has its bytes escaped in the text: `\xf0`.
        """
        found = self._inner.id_to_token(token) or ""
        data = token_bytes(found, bytewise=self._is_bytewise and token not in self._added)
        return data.decode(errors="backslashreplace"), data

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._inner.get_added_tokens_decoder())

    @cached_property
    def _is_bytewise(self) -> bool:
        """Whether its vocabulary writes bytes as characters, as that of GPT-2."""
        return "ByteLevel" in str(self._inner.decoder)

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """Text of `bos_token`, `eos_token` and the other named special tokens that are set."""
        return self._settings.special.named

    @property
    def eos_id(self) -> int | None:
        """Id of the token that the tokenizer's settings call `eos_token`, or None."""
        token = self.special_tokens.get("eos_token")
        return None if token is None else self.id_of(token)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer; see `stop_tokens`."""
        return frozenset(stop_tokens(self.files, self.eos_id).ids)
