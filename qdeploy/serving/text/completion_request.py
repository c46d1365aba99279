"""A request to `/v1/completions`: its fields, and the continuations that they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from qdeploy.generation.completion import Completion
from qdeploy.generation.settings import Settings
from qdeploy.interface import Session
from qdeploy.serving.errors import invalid
from qdeploy.serving.fields import IN_COMPLETIONS, check, texts_or_ids
from qdeploy.serving.settings import Limits
from qdeploy.serving.text.generate_fields import GenerateFields
from qdeploy.tokenization.tokenizer import Tokenizer

MOST_TOKENS = 16
"""OpenAI's default of `max_tokens`, for completions only."""
Prompt = str | list[int]


class CompletionFields(GenerateFields):
    """Fields of a completion's request."""

    prompts: Annotated[list[Prompt], PlainValidator(texts_or_ids)] = Field(alias="prompt")
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0)] | None = None
    echo: bool | None = None

    @property
    def most_probable(self) -> int | None:
        return self.logprobs


def parse(body: Mapping[str, Any], limits: Limits) -> CompletionFields:
    """Check the body of a request.

    Raises:
        ApiError: it cannot be served.
    """
    fields = check(CompletionFields, body, IN_COMPLETIONS)
    fields.check_limits(limits)
    if fields.max_tokens == 0 and not fields.echo:
        raise invalid("max_tokens", "0 goes with echo alone, which returns the prompt")
    answers = len(fields.prompts) * fields.choices
    if answers > limits.choices:
        raise invalid("prompt", f"{answers} answers are asked for; the limit is {limits.choices}")
    return fields


def settings(
    fields: CompletionFields, tokenizer: Tokenizer, seed: int, most_tokens: int | None
) -> Settings:
    """What the fields ask of a completion.

    Raises:
        InputError: a number is out of its range.
    """
    most = fields.most_tokens
    return Settings(
        max_new_tokens=min(MOST_TOKENS, most_tokens or MOST_TOKENS) if most is None else most,
        sampling=fields.sampling(tokenizer, None),
        seed=seed,
        stop=fields.stops,
        logprobs=fields.most_probable,
        json_schema=fields.schema_text,
    )


def completion(
    fields: CompletionFields, session: Session, tokenizer: Tokenizer, asked: Settings, index: int
) -> Completion:
    """Tokenize a prompt. *index* counts the answers of all prompts, those of the first one first.

    Raises:
        InputError: the prompt does not fit.
    """
    prompt, place = divmod(index, fields.choices)
    return Completion(
        session, tokenizer, fields.prompts[prompt], asked.choice(place), echo=bool(fields.echo)
    )
