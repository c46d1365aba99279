"""The generation settings of a model, read as transformers reads them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from qdeploy.errors import CheckpointError
from qdeploy.storage.toml_file import fault
from qdeploy.tokenization.generation_settings import generation_settings

LEAST_TOP_P = 1e-6
"""What a top_p of 0 is read as: the most probable token alone reaches it, in any vocabulary."""


def _within(least: float, most: float = math.inf) -> AfterValidator:
    """Make a number outside the range None: the file is then as one that does not set it."""
    return AfterValidator(lambda x: x if x is not None and least <= x <= most else None)


def _top_p(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(LEAST_TOP_P, value))


def _top_k(value: int | None) -> int | None:
    return None if value is None else max(0, value)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _known(ids: Any) -> Any:
    """Without negative ids, which some files have for none: no token has one."""
    if isinstance(ids, list):
        return [i for i in ids if type(i) is not int or i >= 0]
    return None if type(ids) is int and ids < 0 else ids


Id = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)] | None
Whole = Annotated[int | None, BeforeValidator(_whole)]


class GenerationConfig(BaseModel):
    """The generation settings that matter here; names are those of `generation_config.json`.

    A number that transformers could not use is None. The others are read as it reads them: a
    `top_p` over 1 is 1, and a `top_k` below 0 is 0, all tokens.

    Attributes:
        max_new_tokens: most tokens of an answer.
        max_length: most tokens of prompt and answer, where `max_new_tokens` is not set.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    eos_token_id: Annotated[Id | list[Id] | None, BeforeValidator(_known)] = None
    do_sample: bool | None = None
    temperature: Annotated[Number, _within(0)] = None
    top_p: Annotated[Number, _within(0), AfterValidator(_top_p)] = None
    top_k: Annotated[Whole, AfterValidator(_top_k)] = None
    min_p: Annotated[Number, _within(0, 1)] = None
    repetition_penalty: Annotated[Number, _within(math.ulp(0))] = None
    presence_penalty: Annotated[Number, _within(-2, 2)] = None
    max_new_tokens: Annotated[Whole, _within(1)] = None
    max_length: Annotated[Whole, _within(1)] = None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids of `eos_token_id`; empty where it is not set."""
        ids = self.eos_token_id
        if isinstance(ids, int):
            return (ids,)
        return tuple(ids or ())


def read_generation_config(folder: Path) -> GenerationConfig:
    """Read the generation settings of the model in *folder*; all None where it has none.

    Raises:
        CheckpointError: a setting has a type that it cannot have.
    """
    source, settings = generation_settings(folder)
    try:
        return GenerationConfig.model_validate(settings)
    except ValidationError as error:
        key, complaint = fault(error)
        key = key.partition(".")[0]  # pydantic adds its own names of the types
        raise CheckpointError(
            f"{key}: {complaint}",
            where=folder / source,
            fix=f"correct {key} in the file, or remove it there",
        ) from None
