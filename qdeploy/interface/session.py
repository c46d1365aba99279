"""A session: a bundle loaded on a device, which continues prompts and scores texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qdeploy.errors import GenerationFailed, PromptError
from qdeploy.interface.loaded import Loaded
from qdeploy.interface.sampling import Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """One prompt to continue.

    Attributes:
        prompt_ids: the whole prompt as token ids; at least one.
        max_new_tokens: at most this many tokens are generated, a stop token included.
        stop_ids: generation ends after the first of these, which is still yielded.
    """

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes:
        id: token id.
        timestamp: `time.perf_counter()` seconds at which the runtime returned it.
        text: the characters that this token completes. Backends leave it empty; the core's
            detokenizer fills it in, since a character may span several tokens.
    """

    id: int
    timestamp: float
    text: str = ""


@dataclass(frozen=True)
class Limits:
    """What a session can take. A backend states it once; the base class checks every request.

    Attributes:
        context: most tokens, prompt and answer together.
        vocab_size: token ids are below this.
        prompt: most tokens of a prompt; None is all of the context but one.
        shortest_prompt: fewest tokens of a prompt.
        score: most tokens to score; None is the context.
        prompt_setting: the profile's property that sets `prompt`, named in the error.
    """

    context: int
    vocab_size: int
    prompt: int | None = None
    shortest_prompt: int = 1
    score: int | None = None
    prompt_setting: str | None = None


class Session(Loaded):
    """A bundle loaded on a device, which generates. Not thread-safe: one caller at a time.

    `generate`, `score` and `close` check what they are given and call the methods `_generate`,
    `_score` and `_close` of the backend. Every backend therefore refuses the same requests with
    the same messages.

    Args:
        limits: what the session can take.
        device: named in errors.
    """

    def __init__(self, limits: Limits, *, device: str) -> None:
        super().__init__(limits.context, limits.vocab_size, device=device)
        self._limits, self._busy = limits, False

    @property
    def prompt_limit(self) -> int:
        """Most tokens of a prompt: less than the context where lengths were fixed beforehand."""
        longest = self._limits.context - 1
        return longest if self._limits.prompt is None else min(self._limits.prompt, longest)

    def generate(self, request: Request) -> Generator[Token, None, None]:
        """Yield tokens as the runtime makes them, up to a stop token or the end of the context.

        Closing the generator early stops the runtime before returning, and leaves the session
        ready for the next request.

        Raises:
            PromptError: the session cannot take the prompt. Raised before any work is done.
            GenerationFailed: the runtime broke, or the session is closed or busy.
        """
        self._require_open()
        self.check_prompt(request.prompt_ids)
        return self._run(request)

    def _run(self, request: Request) -> Generator[Token, None, None]:
        if request.max_new_tokens < 1:
            return
        self._require_open()
        self._require_idle()
        room = self.context - len(request.prompt_ids)
        bounded = replace(request, max_new_tokens=min(request.max_new_tokens, room))
        self._busy = True
        try:
            with closing(self._generate(bounded)) as tokens:
                for token in tokens:
                    yield token
                    if token.id in request.stop_ids:
                        return
                    if self._closed:
                        raise GenerationFailed(
                            "the session was closed while it was generating",
                            where=self._device_name,
                        )
        finally:
            self._busy = False

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return teacher-forced logits, float32 [T, V], for T token ids.

        Row t holds the logits for the token after `token_ids[: t + 1]`.

        Raises:
            PromptError: no ids, ids outside the vocabulary, or more than the session holds.
            GenerationFailed: the runtime broke, or the session is closed or busy.
        """
        self._require_open()
        self._require_idle()
        self._check_ids(token_ids)
        longest = self.context if self._limits.score is None else self._limits.score
        if len(token_ids) > longest:
            raise PromptError(
                f"{len(token_ids)} tokens to score; the session holds {longest}",
                fix="score a shorter text, or load with a longer context",
            )
        return self._score(token_ids)

    def check_prompt(self, token_ids: Sequence[int]) -> None:
        """Check that the session can take a prompt.

        Raises:
            PromptError: it is too short or too long, or has ids outside the vocabulary.
        """
        self._check_ids(token_ids)
        tokens, shortest = len(token_ids), self._limits.shortest_prompt
        if tokens < shortest:
            raise PromptError(
                f"the prompt has {tokens} token; {self._device_name} takes {shortest} or more",
                fix="add to the prompt, e.g. through the chat template",
            )
        if tokens > self.prompt_limit:
            fix = "shorten the prompt, or give a longer --context, here or to export"
            if setting := self._limits.prompt_setting:
                fix = f"shorten the prompt, or raise {setting} in the profile"
            raise PromptError(
                f"the prompt has {tokens} tokens; the session holds {self.context}, answer "
                f"included, and takes a prompt of {self.prompt_limit}",
                fix=fix,
            )

    def _require_idle(self) -> None:
        """A session has one cache, which a request that is not finished still needs."""
        if self._busy:
            raise GenerationFailed(
                "the session is still generating for another request",
                where=self._device_name,
                fix="close that request's generator first",
            )

    @abstractmethod
    def _generate(self, request: Request) -> Generator[Token, None, None]:
        """Yield up to `max_new_tokens` tokens. The request was checked and fits the context.

        Closing the generator must stop the runtime before it returns. The base class closes it
        after a stop token, at the latest.

        Raises:
            GenerationFailed: the runtime broke.
        """

    @abstractmethod
    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits of `score`. The ids were checked, and no request is running.

        Raises:
            GenerationFailed: the runtime broke.
        """

    @abstractmethod
    def _close(self) -> None:
        """Free the device. It is called once; a generator may still be waiting to go on."""
