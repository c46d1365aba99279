"""A session over an engine that takes and gives token ids, as vLLM does."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qdeploy.engines.chunks import Chunk
from qdeploy.engines.client import EngineClient
from qdeploy.engines.scoring import score
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Limits, Placement, Request, Sampling, Session, Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EngineSession(Session):
    """Generates and scores by requests to /completions.

    The engine gets the ids of the prompt and returns those of the answer, so its tokenizer has no
    part in it. It also returns the prompt as it took it, which has to be what was sent.

    Args:
        client: closed with the session.
        limits: what the engine can take, as it says or was started with.
        model: the model's name in requests.
        device: named in errors.
        placement: asks the engine where it runs.
    """

    def __init__(
        self,
        client: EngineClient,
        limits: Limits,
        *,
        model: str,
        device: str,
        placement: Callable[[], Placement],
    ) -> None:
        super().__init__(limits, device=device)
        self._client, self._model, self._ask_placement = client, model, placement

    def placement(self) -> Placement:
        return self._ask_placement()

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        body = completion_body(self._model, request)
        made = 0
        with closing(self._client.complete(body)) as chunks:
            for chunk in chunks:
                self._check(chunk, request)
                for token in _tokens(chunk, request.logprobs):
                    if (made := made + 1) > request.max_new_tokens:
                        raise self._fault("sends more tokens than it was asked for")
                    yield token

    def _check(self, chunk: Chunk, request: Request) -> None:
        """Check that the engine took the prompt and tells what was asked for."""
        if chunk.prompt_token_ids not in (None, request.prompt_ids):
            raise self._fault("took other tokens than those of the prompt")
        if chunk.token_ids is None:
            if chunk.text:
                raise self._fault("tells no token ids: it does not know return_token_ids")
            return
        wrong = next((i for i in chunk.token_ids if i >= self.limits.vocab_size), None)
        if wrong is not None:
            raise self._fault(
                f"generated token {wrong}, outside the vocabulary of {self.limits.vocab_size}"
            )
        if request.logprobs is not None and len(chunk.logprobs) != len(chunk.token_ids):
            raise self._fault("tells no log-probability of some token")

    def _fault(self, what: str) -> GenerationFailed:
        return GenerationFailed(
            f"the engine {what}",
            where=f"{self._device_name}, model {self._model}",
            fix="use a server that takes and gives token ids for this very model, e.g. vLLM",
        )

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        body = {"model": self._model}
        return score(self._client, body, token_ids, self.limits.vocab_size)

    def _close(self) -> None:
        self._client.close()


def completion_body(model: str, request: Request) -> dict[str, Any]:
    """Return the request to vLLM's /completions.

    The engine's own stop tokens are off, so that only those of the request end the answer. A seed
    is left out of greedy decoding, where vLLM would make a generator for nothing.
    """
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(request.prompt_ids),
        "max_tokens": request.max_new_tokens,
        "stop_token_ids": sorted(request.stop_ids),
        "ignore_eos": True,
        "return_token_ids": True,
        "add_special_tokens": False,
        "skip_special_tokens": False,
        **_sampling(request.sampling),
    }
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
        body["return_tokens_as_token_ids"] = True
    if request.json_schema is not None:
        schema = {"name": "answer", "schema": json.loads(request.json_schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """All of it, since an engine's default may be that of the model's generation_config.json.

    A min-p of 1 keeps the most probable token alone, which is greedy decoding. Engines keep all
    tokens that are equally probable, as logits that were rounded to bfloat16 often are.
    """
    if sampling.min_p == 1:
        sampling = replace(sampling, temperature=0, min_p=0)
    told: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    if not sampling.greedy:
        told["seed"] = sampling.seed
    return told


def _tokens(chunk: Chunk, most_probable: int | None) -> Iterator[Token]:
    """The tokens of a chunk. vLLM names the drawn token besides the most probable ones."""
    for place, token in enumerate(chunk.token_ids or ()):
        if most_probable is None:
            yield Token(token, chunk.timestamp)
        else:
            told = chunk.logprobs[place]
            kept = told.most_probable[:most_probable]
            yield Token(token, chunk.timestamp, logprob=told.chosen, most_probable=kept)
