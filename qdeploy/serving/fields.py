"""Fields of requests: checked by pydantic models, refused by a table, or ignored.

A field that is in neither is ignored, as OpenAI's API does with fields that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from qdeploy.serving.errors import ApiError, invalid

EVERYWHERE: Mapping[str, Sequence[Any]] = {
    "logit_bias": [{}],
    "use_beam_search": [False],
    "length_penalty": [1],
    "min_tokens": [0],
    "ignore_eos": [False],
    "stop_token_ids": [[]],
    "bad_words": [[]],
    "allowed_token_ids": [],
    "include_stop_str_in_output": [False],
    "skip_special_tokens": [True],
    "spaces_between_special_tokens": [True],
    "truncate_prompt_tokens": [],
    "prompt_logprobs": [],
    "guided_json": [],
    "guided_regex": [],
    "guided_choice": [],
    "guided_grammar": [],
    "structured_outputs": [{}],
    "typical_p": [1],
    "mirostat": [0],
    "best_of": [1],
    "logprob_token_ids": [[]],
    "return_tokens_as_token_ids": [False],
    "return_token_offsets": [False],
    "repetition_detection": [],
    "cache_salt": [],
    "vllm_xargs": [{}],
}
"""Fields of OpenAI's API and of vLLM's that would change an answer and that are not supported: with
the values, besides null, that ask for what happens anyway."""

IN_CHATS: Mapping[str, Sequence[Any]] = {
    **EVERYWHERE,
    "audio": [],
    "modalities": [["text"]],
    "prediction": [],
    "functions": [[]],
    "function_call": ["none"],
    "web_search_options": [],
    "verbosity": ["medium"],
    "documents": [[]],
    "chat_template": [],
    "add_special_tokens": [False],
    "include_reasoning": [True],
    "mm_processor_kwargs": [{}],
    "return_prompt_text": [False],
    "return_token_ids": [False],
    "echo": [False],
}
IN_COMPLETIONS: Mapping[str, Sequence[Any]] = {
    **EVERYWHERE,
    "suffix": [""],
    "prompt_embeds": [],
    "add_special_tokens": [True],
    "return_token_ids": [False],
}
IN_ENCODINGS: Mapping[str, Sequence[Any]] = {
    "truncate_prompt_tokens": [],
    "max_tokens_per_doc": [],
}

INSTEAD = {
    "functions": "give tools",
    "function_call": "give tool_choice",
    "guided_json": "give response_format with a json_schema",
    "structured_outputs": "give response_format with a json_schema",
    "modalities": "the model reads and writes text",
    "audio": "the model reads and writes text",
}
"""What to ask for in place of a refused field."""


TEXTS = "a text, token ids, or a list of one or more of these is needed"


class Checked(BaseModel):
    """A part of a request. Types are taken literally: `"1"` is not a number."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


C = TypeVar("C", bound=Checked)


def check(kind: type[C], body: Mapping[str, Any], refused: Mapping[str, Sequence[Any]]) -> C:
    """Check the fields of a request's body.

    Raises:
        ApiError: one has the wrong type or value, or is known and not supported.
    """
    for name, neutral in refused.items():
        given = body.get(name)
        if given is not None and given not in neutral:
            raise invalid(
                name, f"not supported; {INSTEAD.get(name, 'leave it out')}", code="unsupported"
            )
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _worded(error) from None


def listed(value: object) -> object:
    """A value that may stand alone, as the list of it: for fields that are lists."""
    return [value] if isinstance(value, str) else value


def texts_or_ids(value: object) -> list[str | list[int]]:
    """A text, several, or the token ids of one or several, as a list of them.

    Raises:
        ValueError: it is something else, or nothing.
    """
    if isinstance(value, str) or (isinstance(value, list) and value and _is_id(value[0])):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError(TEXTS)
    for item in value:
        if not isinstance(item, str) and not (isinstance(item, list) and all(map(_is_id, item))):
            raise ValueError(TEXTS)
    return value


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _worded(error: ValidationError) -> ApiError:
    """The first fault, and where it is: `messages[0].role`."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # what is left out is a member of a union of types, e.g. `literal['none','auto']`
    steps = [step for step in first["loc"] if isinstance(step, int) or "[" not in step]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    place = place.lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    return invalid(place or "body", message[:1].lower() + message[1:])
