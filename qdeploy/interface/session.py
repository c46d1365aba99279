"""A session: a bundle loaded on a device, which continues prompts and scores texts."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qdeploy.errors import GenerationFailed, InputError, PromptError, PromptTooLong
from qdeploy.interface.loaded import Loaded
from qdeploy.interface.sampling import Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.interface.schema import SchemaGuide, SchemaMask


@dataclass(frozen=True)
class Request:
    """One prompt to continue.

    Attributes:
        prompt_ids: the whole prompt as token ids; at least one.
        max_new_tokens: at most this many tokens are generated, a stop token included.
        stop_ids: generation ends after the first of these, which is still yielded.
        logprobs: so many of the most probable tokens are told at each place, besides the one that
            was drawn; None tells no log-probabilities at all.
        json_schema: a JSON Schema as JSON text. The tokens up to a stop token are then the text of
            a value that it allows.
    """

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    json_schema: str | None = None


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes:
        id: token id.
        timestamp: `time.perf_counter()` seconds at which the runtime returned it.
        text: the characters that this token completes. Backends leave it empty; the core's
            detokenizer fills it in, since a character may span several tokens.
        logprob: its log-probability in nats, by the softmax of the model's logits before
            penalties, temperature and schema; None unless the request asks for it.
        most_probable: the most probable tokens at its place by the same measure, as (id, logprob),
            most probable first: as many as the request asks for.
    """

    id: int
    timestamp: float
    text: str = ""
    logprob: float | None = None
    most_probable: tuple[tuple[int, float], ...] = ()


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
        concurrency: requests that the session serves at once.
        logprobs: most tokens that a request may ask `logprobs` of; None where the runtime tells no
            log-probabilities.
        json_schema: whether a request may have a `json_schema`.
        temperature: the highest of a request; None where any is taken.
    """

    context: int
    vocab_size: int
    prompt: int | None = None
    shortest_prompt: int = 1
    score: int | None = None
    prompt_setting: str | None = None
    concurrency: int = 1
    logprobs: int | None = None
    json_schema: bool = False
    temperature: float | None = None


class Session(Loaded):
    """A bundle loaded on a device, which generates.

    As many threads as `concurrency` says may each iterate over a request of their own, and the
    session schedules them; a request more is refused. `score` counts as a request. `close` may
    come from any thread: requests that run then end with an error.

    `generate`, `score` and `close` check what they are given and call the methods `_generate`,
    `_score` and `_close` of the backend. Every backend therefore refuses the same requests with
    the same messages.

    Args:
        limits: what the session can take.
        device: named in errors.
        schemas: compiles JSON schemas, in backends that keep answers to them by it.
    """

    def __init__(self, limits: Limits, *, device: str, schemas: SchemaGuide | None = None) -> None:
        super().__init__(limits.context, limits.vocab_size, device=device)
        self._limits, self._running, self._schemas = limits, 0, schemas
        self._count_lock, self._score_lock = threading.Lock(), threading.Lock()

    @property
    def limits(self) -> Limits:
        """What the session can take."""
        return self._limits

    @property
    def concurrency(self) -> int:
        """How many requests it serves at once: 1 where the runtime does not batch."""
        return self._limits.concurrency

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
            InputError: it cannot do what the request asks for; see `check_wishes`.
            GenerationFailed: the runtime broke, or the session is closed or busy.
        """
        self._require_open()
        self.check_prompt(request.prompt_ids)
        self.check_wishes(request)
        return self._run(request)

    def _run(self, request: Request) -> Generator[Token, None, None]:
        if request.max_new_tokens < 1:
            return
        self._require_open()
        room = self.context - len(request.prompt_ids)
        bounded = replace(request, max_new_tokens=min(request.max_new_tokens, room))
        with self._counted(), closing(self._generate(bounded)) as tokens:
            for token in tokens:
                yield token
                if token.id in request.stop_ids:
                    return
                if self._closed:
                    raise GenerationFailed(
                        "the session was closed while it was generating", where=self._device_name
                    )

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return teacher-forced logits, float32 [T, V], for T token ids.

        Row t holds the logits for the token after `token_ids[: t + 1]`.

        Raises:
            PromptError: no ids, ids outside the vocabulary, or more than the session holds.
            GenerationFailed: the runtime broke, or the session is closed or busy.
        """
        self._require_open()
        self._check_ids(token_ids)
        longest = self.context if self._limits.score is None else self._limits.score
        if len(token_ids) > longest:
            raise PromptTooLong(
                f"{len(token_ids)} tokens to score; the session holds {longest}",
                fix="score a shorter text, or load with a longer context",
            )
        with self._counted(), self._score_lock:
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
            raise PromptTooLong(
                f"the prompt has {tokens} tokens; the session holds {self.context}, answer "
                f"included, and takes a prompt of {self.prompt_limit}",
                fix=fix,
            )

    def check_wishes(self, request: Request) -> None:
        """Check that the session can do what a request asks for besides its prompt.

        Raises:
            InputError: a stop token is outside the vocabulary; or it takes no such temperature,
                tells no log-probabilities, or not so many, or follows no schema.
        """
        size = self._limits.vocab_size
        if beyond := [i for i in request.stop_ids if not 0 <= i < size]:
            what = f"stop token {beyond[0]} is outside the model's vocabulary of {size}"
            raise InputError(what, fix="use the tokenizer of the bundle")
        hottest, asked_for = self._limits.temperature, request.sampling.temperature
        if hottest is not None and asked_for > hottest:
            raise InputError(
                f"the temperature is {asked_for:g}, and the runtime takes up to {hottest:g}",
                where=self._device_name,
                fix=f"give a number from 0 to {hottest:g}, or another --backend",
            )
        most = self._limits.logprobs
        asked = request.logprobs
        if asked is not None and (most is None or not 0 <= asked <= most):
            told = "none" if most is None else f"those of up to {most} tokens"
            raise InputError(
                f"log-probabilities of {asked} tokens are asked for, and the session tells {told}",
                where=self._device_name,
                fix="leave logprobs out" if most is None else f"ask for 0 to {most}",
            )
        if request.json_schema is not None and not self._limits.json_schema:
            raise InputError(
                "the session cannot keep an answer to a JSON schema",
                where=self._device_name,
                fix="leave the schema out, and say in the prompt what the answer should look like",
            )
        if request.json_schema is not None and self._schemas:
            self._schemas.check(request.json_schema)

    def _schema_of(self, request: Request) -> SchemaMask | None:
        """What keeps the request's answer to its schema; None where it has none."""
        if request.json_schema is None or self._schemas is None:
            return None
        return self._schemas.follow(request.json_schema, request.stop_ids)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request while it runs.

        Raises:
            GenerationFailed: as many are running as the session serves at once. A session without
                batching has one cache, which a request that is not finished still needs.
        """
        with self._count_lock:
            if self._running >= self.concurrency:
                others = "another request" if self.concurrency == 1 else f"{self._running} others"
                raise GenerationFailed(
                    f"the session is still generating for {others}",
                    where=self._device_name,
                    fix="close that request's generator first",
                )
            self._running += 1
        try:
            yield
        finally:
            with self._count_lock:
                self._running -= 1

    @abstractmethod
    def _generate(self, request: Request) -> Generator[Token, None, None]:
        """Yield up to `max_new_tokens` tokens. The request was checked and fits the context.

        With a concurrency above 1 it is called from several threads.

        Closing the generator must stop the runtime before it returns. The base class closes it
        after a stop token, at the latest.

        Raises:
            GenerationFailed: the runtime broke.
        """

    @abstractmethod
    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits of `score`. The ids were checked.

        No other `_score` is running, and no request either unless the concurrency is above 1.

        Raises:
            GenerationFailed: the runtime broke.
        """

    @abstractmethod
    def _close(self) -> None:
        """Free the device. It is called once; a generator may still be waiting to go on."""
