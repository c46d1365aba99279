"""A request as openvino-genai takes it: a tensor and a GenerationConfig."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.backends.openvino.schema import spelled_out
from qdeploy.interface import Request

SEEDS = 2**32
"""The runtime's generator, std::mt19937, is seeded with 32 bits."""


def token_tensor(runtime: Runtime, ids: Sequence[int]) -> Any:
    """Return token ids as a tensor, int64 [1, T]."""
    import numpy as np

    return runtime.ov.Tensor(np.array([ids], dtype=np.int64))


def generation_config(runtime: Runtime, request: Request) -> Any:
    """Return a GenerationConfig for *request*.

    The bundle's generation_config.json has no effect on it: stop tokens and sampling come from the
    request alone. openvino-genai adds the presence penalty to a negative logit (2026.4.1), which
    changes an answer only where the best logit is below the penalty; those of Qwen3 are far above.
    """
    config = runtime.genai.GenerationConfig()
    config.max_new_tokens = request.max_new_tokens
    config.apply_chat_template = False
    if request.stop_ids:
        config.stop_token_ids = set(request.stop_ids)
        # Unset, the runtime would add the bundle's own end token to the stop tokens.
        config.eos_token_id = min(request.stop_ids)
    else:
        # The runtime would replace an empty set by the bundle's; this ignores all stop tokens.
        config.ignore_eos = True
    sampling = request.sampling
    config.repetition_penalty = sampling.repetition_penalty
    config.presence_penalty = sampling.presence_penalty
    config.frequency_penalty = sampling.frequency_penalty
    config.logprobs = 0 if request.logprobs is None else 1
    if request.json_schema is not None:
        config.structured_output_config = runtime.genai.StructuredOutputConfig(
            json_schema=spelled_out(request.json_schema)
        )
    config.do_sample = not sampling.greedy
    if not sampling.greedy:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        config.rng_seed = sampling.seed % SEEDS
        if sampling.min_p < 1:
            config.min_p = sampling.min_p
        else:  # the runtime refuses 1, which keeps the most probable token alone
            config.top_k = 1
        if sampling.top_k:
            config.top_k = min(config.top_k, sampling.top_k)
    return config
