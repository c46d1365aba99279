"""Text from a stream of token ids."""

from __future__ import annotations

from qdeploy.tokenization.clean_up import clean_up, split_settled
from qdeploy.tokenization.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"


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
        self._held = ""  # text that what follows may change, where spaces are cleaned up

    def push(self, token: int) -> str:
        """Return the characters that *token* completes; empty while one is incomplete."""
        self._ids.append(token)
        piece = self._pending()
        if not piece or piece.endswith(REPLACEMENT):
            return ""
        self._context, self._sent = self._sent, len(self._ids)
        if not self._tokenizer.cleans_spaces:
            return piece
        settled, self._held = split_settled(self._held + piece)
        return clean_up(settled)

    def flush(self) -> str:
        """Return the rest, with incomplete characters as U+FFFD, and reset."""
        piece = self._held + self._pending()
        self._ids, self._context, self._sent, self._held = [], 0, 0, ""
        return clean_up(piece) if self._tokenizer.cleans_spaces else piece

    def _pending(self) -> str:
        before = self._tokenizer.decode_raw(self._ids[self._context : self._sent])
        return self._tokenizer.decode_raw(self._ids[self._context :])[len(before) :]
