"""onnxruntime-genai's own loop, where it has the provider.

It holds Python's lock while it computes, so that a thread of its own would gain nothing: an
interrupt is heard between two tokens, and between two passes over a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.settings import SESSION, Settings, text_of
from qdeploy.interface import Request

CPU = "cpu"


class GenaiLoop:
    """A model loaded by onnxruntime-genai.

    The core decides what ends an answer. The runtime cannot be told to let nothing end it, so it is
    told of a token that is as good as never drawn: the last of the vocabulary, which in Qwen3 lies
    behind all tokens that there are. Should it be drawn all the same, the answer goes on behind it
    from a new prefill.
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
        self._longest_pass = provider.longest_pass
        if name != CPU:
            runtime.prepare(runtime.load(), provider)
            if provider.plugin:
                runtime.register_with_genai(provider.name, runtime.plugin_library(provider))
            config.clear_providers()
            config.append_provider(name)
            for option, value in settings.provider_options.items():
                config.set_provider_option(name, option, value)
        self._model = self._genai.Model(config)

    def generate(self, request: Request) -> Generator[int, None, None]:
        """Token ids as they are made; nothing is left running when this is closed."""
        params = self._parameters(request)
        ids = list(request.prompt_ids)
        end = len(ids) + request.max_new_tokens
        while len(ids) < end:
            for token in self._until_it_ends(params, ids, end - len(ids)):
                ids.append(token)
                yield token

    def _until_it_ends(self, params: Any, ids: list[int], most: int) -> Iterator[int]:
        import numpy as np

        generator = self._genai.Generator(self._model, params)
        for at in range(0, len(ids), self._longest_pass):
            generator.append_tokens(np.array(ids[at : at + self._longest_pass], np.int32))
        for _ in range(most):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])
            if generator.is_done():
                return

    def _parameters(self, request: Request) -> Any:
        sampling = request.sampling
        options: dict[str, Any] = {"do_sample": not sampling.greedy}
        options["max_length"] = len(request.prompt_ids) + request.max_new_tokens
        if not sampling.greedy:
            options |= {
                "temperature": sampling.temperature, "top_p": sampling.top_p,
                "top_k": sampling.top_k, "random_seed": sampling.seed,
            }  # fmt: skip
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(**options)
        return params
