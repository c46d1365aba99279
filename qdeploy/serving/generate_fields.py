"""The fields that chats and completions have in common."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import Field

from qdeploy.generation.reasoning import sampling_for
from qdeploy.generation.seed import SEEDS
from qdeploy.interface import Sampling
from qdeploy.serving.errors import invalid
from qdeploy.serving.fields import Checked
from qdeploy.serving.settings import Limits
from qdeploy.tokenization.tokenizer import Tokenizer

LONGEST_STOP = 1000
"""Most characters of a text that ends an answer: so many are held back while it may still come."""
Count = Annotated[int, Field(ge=1)]
Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]


class StreamOptions(Checked):
    """`stream_options`."""

    include_usage: bool | None = None


class GenerateFields(Checked):
    """Fields of a request that generates. None, here and in JSON, is the model's own default."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    seed: int | None = None
    stop: Stop | list[Stop] | None = None
    max_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that has the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of an answer, thinking included."""
        return self.max_tokens

    def check_limits(self, limits: Limits) -> None:
        """Check the request against the server's own limits.

        Raises:
            ApiError: it asks for more.
        """
        if self.choices > limits.choices:
            raise invalid("n", f"{self.n} answers are asked for, and the limit is {limits.choices}")
        most, asked = limits.answer_tokens, self.most_tokens
        if most is not None and asked is not None and asked > most:
            raise invalid("max_tokens", f"{asked} is over this server's limit of {most}")
        if len(self.stops) > limits.stops:
            raise invalid("stop", f"more than {limits.stops} texts")

    def drawn_seed(self) -> int:
        """The seed as given, in the range of the runtimes' generators, or a random one."""
        return secrets.randbelow(SEEDS) if self.seed is None else self.seed % SEEDS

    def sampling(self, tokenizer: Tokenizer, thinking: bool | None) -> Sampling:
        """How tokens are drawn.

        Raises:
            InputError: a number is out of its range.
        """
        top_k = 0 if self.top_k == -1 else self.top_k  # of vLLM: no limit
        given: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS} | {"top_k": top_k}
        return sampling_for(tokenizer, thinking, given)


NUMBERS = (
    "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
