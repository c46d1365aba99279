"""onnxruntime-genai's generation loop, for the providers that it has.

It holds the GIL while it computes, so a thread would not help: Ctrl-C takes effect between two
tokens, and between two passes over a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.dynamic_decoder import generating_graph
from qdeploy.backends.onnxruntime.errors import essence
from qdeploy.backends.onnxruntime.providers import Provider
from qdeploy.backends.onnxruntime.settings import SESSION, Settings, text_of
from qdeploy.errors import TargetUnavailable
from qdeploy.interface import LogitsProcessor, Request, Sampling, Token
from qdeploy.interface.logprobs import token_of
from qdeploy.interface.schema import SchemaMask

CPU = "cpu"
NOT_IN_THIS_BUILD = "interface not available"
ROOM = 2048
"""Tokens after the prompt that the first cache has room for. The runtime writes a cache to its end
when it allocates it, and that of a whole context may take gigabytes."""
SEEDS = 2**31
"""The runtime's seeds are signed 32-bit integers; a negative one means a random seed."""


class GenaiLoop:
    """A model loaded by onnxruntime-genai.

    The base class ends an answer at a stop token. The runtime needs an end token of its own: it
    leaves that token out of its cache and continues once the token is appended. The last id of the
    vocabulary costs least, since Qwen3's tokenizer has no token with that id.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._genai = runtime.load_genai()
        config = self._genai.Config(str(folder))
        session = {n: v if n in SESSION else text_of(v) for n, v in settings.session.items()}
        decoder = {"filename": generating_graph(folder), "session_options": session}
        changes = {"eos_token_id": settings.vocabulary - 1, "decoder": decoder}
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
        """Load the model. Raises TargetUnavailable where this build lacks the provider."""
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

    def generate(
        self, request: Request, schema: SchemaMask | None = None
    ) -> Generator[Token, None, None]:
        """Yield tokens as they are generated. Closing the generator stops the runtime.

        A full cache is replaced by one of twice its size, after a new prefill of all tokens.
        """
        ids = list(request.prompt_ids)
        process = LogitsProcessor(request.sampling, request.prompt_ids)
        end = len(ids) + request.max_new_tokens
        while len(ids) < end:
            length = min(end, len(ids) + max(len(ids), ROOM))
            made = len(ids) - len(request.prompt_ids)
            params = self._parameters(request.sampling, length, made)
            for token in self._until_full(params, ids, length, request, process, schema):
                ids.append(token.id)
                process.append(token.id)
                if schema:
                    schema.append(token.id)
                yield token

    def _until_full(
        self,
        params: Any,
        ids: Sequence[int],
        length: int,
        request: Request,
        process: LogitsProcessor,
        schema: SchemaMask | None,
    ) -> Iterator[Token]:
        """Yield the tokens after *ids*, until there are *length* in all."""
        import numpy as np

        changed = process.is_needed or schema is not None
        seen = changed or request.logprobs is not None
        generator = self._genai.Generator(self._model, params)
        for at in range(0, len(ids), self._longest_pass):
            generator.append_tokens(np.array(ids[at : at + self._longest_pass], np.int32))
        for left in reversed(range(length - len(ids))):
            logits = generator.get_logits().reshape(-1).copy() if seen else None
            if changed and logits is not None:  # the runtime has no min_p, presence or schema
                allowed = schema.mask(logits) if schema else logits
                generator.set_logits(process(allowed).reshape(1, 1, -1))
            generator.generate_next_token()
            token = generator.get_next_tokens()[0]
            yield token_of(request, int(token), logits)
            if left and generator.is_done():
                generator.append_tokens(np.array([token], np.int32))

    def _parameters(self, sampling: Sampling, length: int, made: int) -> Any:
        """Return parameters for *length* tokens in all, *made* of them drawn with the same seed."""
        options: dict[str, Any] = {"do_sample": not sampling.greedy, "max_length": length}
        if not sampling.greedy:
            options |= {
                "temperature": sampling.temperature, "top_p": sampling.top_p,
                # 0.18.0 ignores top_p without top_k, and refuses a top_k over the vocabulary
                "top_k": min(sampling.top_k or self._vocabulary, self._vocabulary),
                "random_seed": (sampling.seed + made) % SEEDS,
            }  # fmt: skip
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(**options)
        return params
