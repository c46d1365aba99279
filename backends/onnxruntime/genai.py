"""onnxruntime-genai's own loop, where it has the provider.

It holds Python's lock while it computes, so that a thread of its own would gain nothing: an
interrupt is heard between two tokens, and between two passes over a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.errors import essence
from qdeploy.backends.onnxruntime.providers import Provider
from qdeploy.backends.onnxruntime.settings import SESSION, Settings, text_of
from qdeploy.errors import TargetUnavailable
from qdeploy.interface import Request, Sampling

CPU = "cpu"
NOT_IN_THIS_BUILD = "interface not available"
ROOM = 2048
"""Tokens that the cache has room for behind a prompt at first: it is written to the end when it is
made, and the context of a model may be gigabytes."""
SEEDS = 2**31
"""Seeds are signed integers of 32 bits there, and negative ones stand for chance."""


class GenaiLoop:
    """A model loaded by onnxruntime-genai.

    The core decides what ends an answer. The runtime must be told of a token that does: it then
    leaves that token out of its cache, and goes on once it is given it. The last of the vocabulary
    costs least: in Qwen3 there is none of that number.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._genai = runtime.load_genai()
        config = self._genai.Config(str(folder))
        changes: dict[str, Any] = {"eos_token_id": settings.vocabulary - 1}
        if settings.session:
            session = {n: v if n in SESSION else text_of(v) for n, v in settings.session.items()}
            changes["decoder"] = {"session_options": session}
        config.overlay(json.dumps({"model": changes}))
        provider, name = settings.provider, settings.provider.genai
        self._longest_pass, self._vocabulary = provider.longest_pass, settings.vocabulary
        if name != CPU:
            runtime.prepare(runtime.load(), provider)
            if provider.plugin:
                runtime.register_with_genai(provider.name, runtime.plugin_library(provider))
            config.clear_providers()
            config.append_provider(name)
            for option, value in settings.provider_options.items():
                config.set_provider_option(name, option, value)
        self._model = self._load(config, provider)

    def _load(self, config: Any, provider: Provider) -> Any:
        """The model; raises TargetUnavailable where this build lacks the provider."""
        try:
            return self._genai.Model(config)
        except RuntimeError as error:
            if NOT_IN_THIS_BUILD not in str(error):
                raise
            raise TargetUnavailable(
                f"the onnxruntime-genai that is installed is not for {provider.name}: "
                f"{essence(error)}",
                provider.install,
            ) from error

    def generate(self, request: Request) -> Generator[int, None, None]:
        """Token ids as they are made; nothing is left running when this is closed.

        A cache that is full is followed by one of twice its size, and a prefill of all tokens.
        """
        ids = list(request.prompt_ids)
        end = len(ids) + request.max_new_tokens
        while len(ids) < end:
            length = min(end, len(ids) + max(len(ids), ROOM))
            made = len(ids) - len(request.prompt_ids)
            params = self._parameters(request.sampling, length, made)
            for token in self._until_full(params, ids, length):
                ids.append(token)
                yield token

    def _until_full(self, params: Any, ids: Sequence[int], length: int) -> Iterator[int]:
        """Tokens behind *ids* until they are *length* together."""
        import numpy as np

        generator = self._genai.Generator(self._model, params)
        for at in range(0, len(ids), self._longest_pass):
            generator.append_tokens(np.array(ids[at : at + self._longest_pass], np.int32))
        for left in reversed(range(length - len(ids))):
            generator.generate_next_token()
            token = generator.get_next_tokens()[0]
            yield int(token)
            if left and generator.is_done():
                generator.append_tokens(np.array([token], np.int32))

    def _parameters(self, sampling: Sampling, length: int, made: int) -> Any:
        """For *length* tokens in all, of which *made* were drawn before with the same seed."""
        options: dict[str, Any] = {"do_sample": not sampling.greedy, "max_length": length}
        if not sampling.greedy:
            options |= {
                "temperature": sampling.temperature, "top_p": sampling.top_p,
                # top_p alone is not kept to (0.18.0), and more than there are is an error
                "top_k": min(sampling.top_k or self._vocabulary, self._vocabulary),
                "random_seed": (sampling.seed + made) % SEEDS,
            }  # fmt: skip
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(**options)
        return params
