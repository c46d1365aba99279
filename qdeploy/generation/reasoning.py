"""Reasoning: the sampling that it is meant to have, and its early stop.

What differs by family is in the row of its architecture (`qdeploy.architectures.recommended`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qdeploy.architectures.recommended import Recommended, RecommendedSampling
from qdeploy.architectures.table import find_family
from qdeploy.interface import Sampling
from qdeploy.tokenization.tokenizer import END_THINK, Tokenizer

TRANSFORMERS = RecommendedSampling(temperature=1.0, top_p=1.0, top_k=50)
"""Defaults of transformers' `GenerationConfig` where `do_sample` is set; without it, greedy."""


def default_sampling(tokenizer: Tokenizer, thinking: bool | None) -> Sampling:
    """Return the sampling of the model's own files, or else of its family, for this mode.

    `generation_config.json` describes the model's default mode, which is thinking for a Qwen3 with
    a thinking switch. No file has the values of the other mode; the family's row has them. A family
    without recommendations gets what transformers does with the file. Greedy decoding and
    penalties that the file asks for hold in every mode.
    """
    recommended, config = _recommended(tokenizer), tokenizer.generation_config
    penalties = _given(
        repetition_penalty=config.repetition_penalty, presence_penalty=config.presence_penalty
    )
    samples = recommended is not None if config.do_sample is None else config.do_sample
    if not samples:
        return Sampling(**penalties)
    if recommended and thinking is False and tokenizer.has_thinking_switch:
        return Sampling(*recommended.content, **penalties)
    default = TRANSFORMERS
    if recommended:
        thinks = tokenizer.has_thinking_switch
        default = recommended.reasoning if thinks else recommended.content
    own = _given(
        temperature=config.temperature, top_p=config.top_p, top_k=config.top_k, min_p=config.min_p
    )
    return replace(Sampling(*default, **penalties), **own)


def early_stop(tokenizer: Tokenizer) -> str:
    """Return the text that ends thinking: the family's sentence, if any, and the closing tag."""
    recommended = _recommended(tokenizer)
    return f"{recommended.early_stop if recommended else ''}\n{END_THINK}\n\n"


def penalty_against_repetition(tokenizer: Tokenizer) -> float | None:
    """Return the presence penalty that the family's makers advise for quantized models, or None."""
    recommended = _recommended(tokenizer)
    return recommended.presence_penalty if recommended else None


def sampling_for(
    tokenizer: Tokenizer, thinking: bool | None, given: Mapping[str, float | None]
) -> Sampling:
    """Return the default sampling, with the *given* fields in place of its own; None is not given.

    Raises:
        InputError: a number is out of its range.
    """
    return replace(default_sampling(tokenizer, thinking), **_given(**given))


def _given(**fields: float | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _recommended(tokenizer: Tokenizer) -> Recommended | None:
    family = find_family(tokenizer.model_config)
    return family.recommended if family else None
