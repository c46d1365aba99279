"""Ends an answer in JSON that goes on with white space for ever.

JSON allows white space between its tokens, and so do the grammars that openvino-genai makes of a
schema, without a limit (2026.4.1). A model that was not told to write JSON may find nothing more
probable, up to the last token that it may make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from qdeploy.errors import PromptError
from qdeploy.interface import Request, Token
from qdeploy.tokenization.tokenizer import Tokenizer

LONGEST = 32
"""Tokens. A line break and the indentation of ten levels are two or three."""


class WhiteSpace:
    """Knows which tokens are white space.

    Args:
        folder: the bundle's, whose tokenizer is read when the first token is looked at.
        device: named in errors.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._tokenizer, self._device = Tokenizer(folder, prepared=True), device

    def bounded(self, tokens: Iterable[Token], request: Request) -> Iterator[Token]:
        """Yield the tokens of an answer.

        Raises:
            PromptError: *request* has a schema, and `LONGEST` tokens in a row were white space:
                after this prompt the model does not write JSON. The runtime works.
        """
        if request.json_schema is None:
            yield from tokens
            return
        run = 0
        for token in tokens:
            yield token
            run = run + 1 if self._is_white(token.id) else 0
            if run == LONGEST:
                raise PromptError(
                    "the model does not write what the schema asks for: its answer went on with "
                    f"{LONGEST} tokens of white space, which JSON allows without end",
                    where=self._device,
                    fix="say in the prompt that the answer is JSON and what is in it, set a "
                    "frequency penalty, or take a bundle of the format onnx, which bounds it",
                )

    def _is_white(self, token: int) -> bool:
        return self._tokenizer.decode_raw([token]).isspace()
