"""Keeps an answer to a JSON schema, for backends that see the logits of each token.

The library llguidance says which tokens may follow: those whose text leads to a value that the
schema allows. It supports most of JSON Schema, and names what it does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from qdeploy.errors import GenerationFailed, InputError
from qdeploy.tokenization.text_files import TOKENIZER_FILE
from qdeploy.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT = 32
"""Compiled schemas that are kept; an application asks for a few, again and again."""
WHITESPACE = r" |\n {0,16}|\n\t{0,4}"
"""Between the parts of a value: a space, or a new line and its indent, as in all usual styles. A
model that may go on with white space alone does not always end."""
ADVICE = "change that part of the schema, or leave the schema out"


def schema_guide(folder: Path, vocabulary: int) -> SchemaGuide | None:
    """Return what compiles schemas for a bundle; None where llguidance is not installed."""
    return SchemaGuide(folder, vocabulary) if find_spec("llguidance") else None


class SchemaGuide:
    """Compiles schemas for the tokenizer of one bundle. Threads may share it.

    Args:
        folder: the bundle's. The tokenizer is read when the first schema comes, which takes about a
            second for a vocabulary of 150 000.
        vocabulary: tokens that the model's logits are of.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self._folder, self._vocabulary = folder, vocabulary
        self._lock = Lock()
        self._tokenizer: Any = None
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def check(self, schema: str) -> None:
        """Compile a schema.

        Raises:
            InputError: it is not JSON, not a schema, allows no value, or uses a keyword that the
                library does not support.
        """
        self._matcher(schema)

    def follow(self, schema: str, stop_ids: Collection[int]) -> SchemaMask:
        """Return what keeps one answer to the schema. Raises as `check` does."""
        matcher = self._matcher(schema).deep_copy()
        return SchemaMask(matcher, self._vocabulary, self._tokenizer.eos_tokens, stop_ids)

    def _matcher(self, schema: str) -> Any:
        """The state before the first token; callers copy it."""
        with self._lock:
            if schema in self._compiled:
                self._compiled.move_to_end(schema)
                return self._compiled[schema]
            matcher = self._compile(schema)
            self._compiled[schema] = matcher
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            return matcher

    def _compile(self, schema: str) -> Any:
        from llguidance import LLMatcher

        if self._tokenizer is None:
            self._tokenizer = self._read_tokenizer()
        try:
            options = {"whitespace_pattern": WHITESPACE}
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=options)
        except ValueError as error:
            raise InputError(f"not a JSON schema: {error}", fix=ADVICE) from None
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        first = matcher.deep_copy()
        first.compute_bitmask()  # a reference to itself shows at the first token only
        if first.is_error():
            raise InputError(
                f"no answer can be kept to this JSON schema: {_reason(first)}", fix=ADVICE
            )
        return matcher

    def _read_tokenizer(self) -> Any:
        from llguidance import LLTokenizer

        tokenizer = Tokenizer(self._folder, prepared=True)
        ends = sorted(tokenizer.stop_ids) or [self._vocabulary - 1]
        file = tokenizer.files.where(TOKENIZER_FILE)
        try:
            return LLTokenizer(
                file.read_text(encoding="utf-8"), n_vocab=self._vocabulary, eos_token=ends
            )
        except Exception as error:  # the library raises bare exceptions
            raise InputError(
                f"llguidance cannot read the tokenizer, which schemas need: {error}",
                where=file,
                fix="leave the schema out",
            ) from None


class SchemaMask:
    """Keeps one answer to a schema: `mask` before each token is drawn, `append` after it.

    Args:
        matcher: the library's, which this answer alone uses.
        vocabulary: tokens that the logits are of.
        ends: the tokenizer's stop tokens, of which the library knows.
        stop_ids: the request's; without any, *ends*. They are allowed where the text so far is a
            whole value, and nowhere else.
    """

    def __init__(
        self, matcher: Any, vocabulary: int, ends: Sequence[int], stop_ids: Collection[int]
    ) -> None:
        import numpy as np

        self._matcher, self._vocabulary, self._ends = matcher, vocabulary, list(ends)
        self._stops = sorted(stop_ids) or self._ends
        self._words = np.zeros((1, -(-vocabulary // 32)), np.int32)
        self._ended = False

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [V] with negative infinity where a token may not follow.

        Raises:
            GenerationFailed: the library gave up, since the schema became too complex for it.
        """
        import numpy as np

        return np.where(self._allowed(), logits, np.float32(-np.inf))

    def append(self, token: int) -> None:
        """Go on to the text with *token*."""
        if token in self._stops:
            self._ended = True
        else:
            self._matcher.consume_token(token)

    def _allowed(self) -> NDArray[np.bool_]:
        import numpy as np
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._words)
        if self._matcher.is_error():
            raise GenerationFailed(
                f"the answer can no longer be kept to its schema: {_reason(self._matcher)}",
                fix=ADVICE,
            )
        bits = np.unpackbits(self._words.view(np.uint8)[0], bitorder="little")
        allowed = bits[: self._vocabulary].view(np.bool_)
        if self._ended or self._matcher.is_stopped():
            allowed[:] = False
        allowed[self._ends] = False
        allowed[self._stops] = self._matcher.is_accepting()
        return allowed


def _reason(matcher: Any) -> str:
    """The library's error in one line, without the dump of its state that may follow it."""
    return " ".join(matcher.get_error().partition("<state>")[0].split())
