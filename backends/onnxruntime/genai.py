"""onnxruntime-genai's own loop, where it has the provider."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.interface import Request

CPU = "cpu"


class GenaiLoop:
    """A model loaded by onnxruntime-genai."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._genai = runtime.load_genai()
        config = self._genai.Config(str(folder))
        # the core decides what ends an answer; the runtime would pad after its own idea of it
        session = {n: v if n[0] != "s" else str(v) for n, v in settings.session.items()}
        decoder = {"session_options": session} if session else {}
        config.overlay(json.dumps({"model": {"eos_token_id": [], "decoder": decoder}}))
        name = settings.provider.genai
        if name != CPU:
            config.clear_providers()
            config.append_provider(name)
            for option, value in settings.options.items():
                config.set_provider_option(name, option, value)
        self._model = self._genai.Model(config)

    def generate(self, request: Request) -> Generator[int, None, None]:
        """Token ids as they are made; nothing is left running when this is closed."""
        import numpy as np

        sampling = request.sampling
        params = self._genai.GeneratorParams(self._model)
        options: dict[str, Any] = {"max_length": len(request.prompt_ids) + request.max_new_tokens}
        if sampling.greedy:
            options["do_sample"] = False
        else:
            options |= {
                "do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p,
                "top_k": sampling.top_k, "random_seed": sampling.seed,
            }  # fmt: skip
        params.set_search_options(**options)
        generator = self._genai.Generator(self._model, params)
        generator.append_tokens(np.array(request.prompt_ids, np.int32))
        for _ in range(request.max_new_tokens):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])
