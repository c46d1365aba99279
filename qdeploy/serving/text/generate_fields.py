"""The fields that chats and completions have in common."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from qdeploy.generation.reasoning import sampling_for
from qdeploy.generation.seed import SEEDS
from qdeploy.interface import Limits as SessionLimits
from qdeploy.interface import Sampling
from qdeploy.serving.errors import about, invalid
from qdeploy.serving.fields import Checked, listed
from qdeploy.serving.settings import Limits
from qdeploy.tokenization.tokenizer import Tokenizer

LONGEST_STOP = 1000
"""Most characters of a text that ends an answer: so many are held back while it may still come."""
Count = Annotated[int, Field(ge=1)]
Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]


class StreamOptions(Checked):
    """`stream_options`."""

    include_usage: bool | None = None


class ResponseFormat(Checked):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None

    @property
    def schema_text(self) -> str | None:
        """The JSON Schema as JSON; None where any text may come.

        Raises:
            ApiError: it is missing, or no schema.
        """
        if self.type == "text":
            return None
        if self.type == "json_object":
            return json.dumps({"type": "object"})
        schema = (self.json_schema or {}).get("schema")
        if not isinstance(schema, dict):
            raise invalid("response_format.json_schema.schema", "a JSON Schema is needed")
        return json.dumps(schema)


class GenerateFields(Checked):
    """Fields of a request that generates. None, here and in JSON, is the model's own default."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    seed: int | None = None
    stop: Annotated[list[Stop], BeforeValidator(listed)] | None = None
    max_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: ResponseFormat | None = None

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
        return tuple(self.stop or ())

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of an answer, thinking included."""
        return self.max_tokens

    @property
    def most_probable(self) -> int | None:
        """Of how many tokens at each place log-probabilities are wanted; None is of none at all."""
        raise NotImplementedError

    @property
    def schema_text(self) -> str | None:
        """The JSON Schema of the answer, as JSON."""
        return None if self.response_format is None else self.response_format.schema_text

    def check_able(self, session: SessionLimits) -> None:
        """Check that the session can do what is asked for, before anything is generated.

        Raises:
            ApiError: it tells no log-probabilities, or not so many, or follows no schema.
        """
        most, asked = session.logprobs, self.most_probable
        if asked is not None and (most is None or asked > most):
            told = "none" if most is None else f"those of up to {most} tokens"
            raise invalid("logprobs", f"the model's runtime tells {told}", code="unsupported")
        if self.schema_text is not None and not session.json_schema:
            raise invalid(
                "response_format",
                "the model's runtime cannot keep an answer to a schema; leave it out, and say in "
                "the prompt what the answer should look like",
                code="unsupported",
            )

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
            ApiError: a number is out of its range.
        """
        top_k = 0 if self.top_k == -1 else self.top_k  # of vLLM: no limit
        given: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS} | {"top_k": top_k}
        for name, value in given.items():
            if value is not None:
                with about(name):
                    Sampling(**{name: value})
        return sampling_for(tokenizer, thinking, given)


NUMBERS = (
    "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
