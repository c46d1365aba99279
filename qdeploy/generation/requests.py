"""The requests that make one answer: each goes on where the one before it ended."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

from qdeploy.errors import PromptError
from qdeploy.generation.latency import Timing
from qdeploy.generation.reasoning import default_sampling
from qdeploy.generation.settings import Settings
from qdeploy.interface import Request, Session, Token
from qdeploy.tokenization.tokenizer import Tokenizer


class Requests:
    """Sends the requests of one answer.

    Args:
        prompt_tokens: tokens of the first request's prompt.
        thinking: the mode whose default sampling is meant.

    Attributes:
        sampling: how tokens are drawn.

    Raises:
        PromptError: the model's settings leave no token for the answer.
        InputError: the session cannot do what is asked for.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        settings: Settings,
        *,
        prompt_tokens: int,
        thinking: bool | None,
    ) -> None:
        self._session = session
        self._most = _most_new_tokens(tokenizer, settings, prompt_tokens)
        sampling = settings.sampling or default_sampling(tokenizer, thinking)
        self.sampling = replace(sampling, seed=settings.seed)
        self._first = Request(
            (), 0, self.sampling, tokenizer.stop_ids, settings.logprobs, settings.json_schema
        )
        session.check_wishes(self._first)
        self._start = 0.0
        self._resumed: set[int] = set()

    def room(self, prompt_tokens: int, made: int) -> int:
        """Return how many tokens may follow a prompt of this length, *made* of which are answer."""
        if prompt_tokens > self._session.prompt_limit:
            return 0
        left = self._session.context - prompt_tokens
        return left if self._most is None else min(left, self._most - made)

    def start(self) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def send(
        self, prompt: tuple[int, ...], made: int, json_schema: str | None = None
    ) -> Generator[Token, None, None]:
        """Return the tokens that follow *prompt*; *made* were generated before them.

        Raises:
            PromptError: the session cannot take the prompt.
            GenerationFailed: the runtime broke, or the session is closed or busy.
        """
        if made:
            self._resumed.add(made)
        most = self.room(len(prompt), made)
        first = replace(self._first, prompt_ids=prompt, max_new_tokens=most)
        return self._session.generate(replace(first, json_schema=json_schema))

    def timing(self, tokens: Sequence[Token]) -> Timing:
        """Return the timestamps of the *tokens* that were made."""
        stamps = tuple(token.timestamp for token in tokens)
        return Timing(self._start, stamps, frozenset(self._resumed))


def _most_new_tokens(tokenizer: Tokenizer, settings: Settings, prompt_tokens: int) -> int | None:
    """Most tokens of the answer, as asked or as the model's settings say; None is no limit."""
    config = tokenizer.generation_config
    if settings.max_new_tokens is not None:
        return settings.max_new_tokens
    if config.max_new_tokens is not None or config.max_length is None:
        return config.max_new_tokens
    if config.max_length <= prompt_tokens:
        raise PromptError(
            f"the prompt has {prompt_tokens} tokens, and max_length = {config.max_length} "
            f"of generation_config.json leaves none for the answer",
            where=tokenizer.folder,
            fix="say how many tokens to generate: --max-new-tokens N",
        )
    return config.max_length - prompt_tokens
