"""A request to `/v1/completions` by token ids: the prompt as ids, and the answer as ids.

The fields are vLLM's, and `return_token_ids` tells such a request from one for text. Another
qdeploy asks in this way (backend `endpoint`): its tokenizer makes the ids, and text of the answer.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from qdeploy.generation.latency import Timing
from qdeploy.generation.pieces import FinishReason, Piece
from qdeploy.interface import Request, Session, Token
from qdeploy.serving.errors import invalid
from qdeploy.serving.fields import IN_COMPLETIONS, check
from qdeploy.serving.settings import Limits
from qdeploy.serving.text.generate_fields import GenerateFields
from qdeploy.tokenization.tokenizer import Tokenizer

BY_IDS = (
    "return_token_ids", "return_tokens_as_token_ids", "stop_token_ids", "ignore_eos",
    "add_special_tokens", "skip_special_tokens", "prompt_logprobs",
)  # fmt: skip
"""Fields that requests for text may not have, and these may."""
REFUSED = {
    **{name: neutral for name, neutral in IN_COMPLETIONS.items() if name not in BY_IDS},
    "stop": [[]],
    "n": [1],
    "echo": [False],
}
ALL = -1
"""Log-probabilities of the whole vocabulary; vLLM's word for it."""
MOST_TOKENS = 16
"""OpenAI's default of `max_tokens`."""
Ids = Annotated[list[int], Field(min_length=1)]


class TokenFields(GenerateFields):
    """Fields of a request by token ids."""

    prompt: Ids
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    logprobs: Annotated[int, Field(ge=ALL)] | None = None
    prompt_logprobs: Literal[-1] | None = None

    @property
    def most_probable(self) -> int | None:
        return None if self.scores else self.logprobs

    @property
    def scores(self) -> bool:
        """Whether it asks for log-probabilities of the whole vocabulary, and not for an answer."""
        return self.logprobs == ALL

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The tokens that end the answer: those given, and the model's unless they are ignored."""
        own = frozenset[int]() if self.ignore_eos else frozenset(tokenizer.stop_ids)
        return own.union(self.stop_token_ids or ())


class TokenCompletion:
    """One answer in tokens. Iterate over it once, for pieces that have no text; then read it.

    Raises:
        PromptError: the prompt does not fit the session.
        InputError: the session cannot do what is asked for.
    """

    def __init__(
        self, fields: TokenFields, session: Session, tokenizer: Tokenizer, seed: int
    ) -> None:
        self.prompt = tuple(fields.prompt)
        session.check_prompt(self.prompt)
        self._session = session
        self._request = Request(
            self.prompt,
            fields.most_tokens or MOST_TOKENS,
            replace(fields.sampling(tokenizer, None), seed=seed),
            fields.stop_ids(tokenizer),
            fields.most_probable,
            fields.schema_text,
        )
        session.check_wishes(self._request)
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason = "cancelled"
        self._start = 0.0

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt)

    @property
    def timing(self) -> Timing:
        return Timing(self._start, tuple(token.timestamp for token in self.tokens))

    def __iter__(self) -> Generator[Piece, None, None]:
        self._start = time.perf_counter()
        with closing(self._session.generate(self._request)) as stream:
            for token in stream:
                self.tokens.append(token)
                yield Piece("", "content", (token,))
        ended = self.tokens and self.tokens[-1].id in self._request.stop_ids
        self.finish_reason = "stop" if ended else "length"


def is_by_ids(body: Mapping[str, Any]) -> bool:
    """Whether a request is by token ids: prompt and answer."""
    return body.get("return_token_ids") is True


def parse(body: Mapping[str, Any], limits: Limits) -> TokenFields:
    """Check the body of a request.

    Raises:
        ApiError: it cannot be served.
    """
    fields = check(TokenFields, body, REFUSED)
    fields.check_limits(limits)
    if fields.prompt_logprobs is not None and not fields.scores:
        raise invalid("prompt_logprobs", f"goes with logprobs = {ALL}", code="unsupported")
    return fields
