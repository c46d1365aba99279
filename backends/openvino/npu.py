"""Settings of the NPU: static lengths, and NPUW, the part of the plugin that runs LLMs.

NPUW splits a model into a prefill and a generate graph of fixed shapes. Each part goes to the
first device of NPUW_DEVICES that accepts it, so the list must hold the requested device only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qdeploy.errors import InputError
from qdeploy.interface import Property

PROMPT = "MAX_PROMPT_LEN"
RESPONSE = "MIN_RESPONSE_LEN"
DEFAULTS = {PROMPT: 1024, RESPONSE: 128}
"""The defaults of openvino-genai."""
WHOLE_CACHE: Mapping[str, Property] = {"NPUW_LLM_GENERATE_PYRAMID": "NO"}
"""One generate graph, for the whole context. The pyramid (openvino PR 32795) has smaller ones and
chooses by the prompt's length plus MIN_RESPONSE_LEN; an answer that grows past the chosen graph's
cache becomes wrong text, without an error (2026.4.1, from MAX_PROMPT_LEN 1025 on)."""
ONLY_NPU: Mapping[str, Property] = {"NPUW_DEVICES": "NPU", "NPUW_FALLBACK_EXEC": "NO"}
"""With `NPU,CPU` a machine without any NPU loads the model, runs it on the CPU and still
reports EXECUTION_DEVICES as NPU (2026.4.1)."""
SIMULATED: Mapping[str, Property] = {
    "NPUW_DEVICES": "CPU",
    "NPUW_ONLINE_PIPELINE": "NONE",
    "NPUW_FOLD": "NO",
}
"""The same static graphs and cache handling, compiled by the CPU plugin. Partitioning and folding
are off, since only the NPU compiler needs them. Folding would unpack int4 weights in every pass
(1.1 s a token instead of 0.09 s on a 0.6B model) and rejects the weights of experts."""
SHORTEST_PROMPT = 2
"""NPUW treats a prompt of one token as a decode step and runs it with the previous request's cache:
the text is wrong, without an error (2026.4.1)."""
RENAMED = {
    PROMPT: "NPUW_LLM_MAX_PROMPT_LEN",
    RESPONSE: "NPUW_LLM_MIN_RESPONSE_LEN",
    "PREFILL_HINT": "NPUW_LLM_PREFILL_HINT",
    "GENERATE_HINT": "NPUW_LLM_GENERATE_HINT",
}
"""Names in openvino-genai and in the plugin, of the properties with a plain value."""
LLM: Mapping[str, Property] = {
    "NPU_USE_NPUW": "YES",
    "NPUW_LLM": "YES",
    "NPUW_LLM_BATCH_DIM": 0,
    "NPUW_LLM_SEQ_LEN_DIM": 2,
}
"""Properties that openvino-genai adds for a cache of shape [batch, heads, tokens, head_dim]."""


@dataclass(frozen=True)
class StaticLengths:
    """Lengths in tokens that the graphs are compiled for.

    Attributes:
        prompt: longest prompt.
        response: most new tokens after the longest prompt.
    """

    prompt: int
    response: int

    @property
    def context(self) -> int:
        return self.prompt + self.response

    def properties(self) -> dict[str, Property]:
        return {PROMPT: self.prompt, RESPONSE: self.response}


def static_lengths(properties: Mapping[str, Property], context: int) -> StaticLengths:
    """Read the lengths from *properties*, and raise the prompt's until *context* tokens fit.

    Raises:
        InputError: a length is not a positive integer.
    """
    prompt, response = (_length(name, properties.get(name, DEFAULTS[name])) for name in DEFAULTS)
    return StaticLengths(max(prompt, context - response), response)


def plugin_properties(properties: Mapping[str, Property]) -> dict[str, Property]:
    """Return the properties that openvino-genai would compile with, given these."""
    return {**LLM, **{RENAMED.get(name, name): value for name, value in properties.items()}}


def _length(name: str, value: Property) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}", fix=f"give a whole number, e.g. {DEFAULTS[name]}")
    return value
