"""A loaded bundle: checks requests, and makes tokens with one loop or the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from qdeploy.backends.onnxruntime.decoder import Model
from qdeploy.backends.onnxruntime.errors import translated
from qdeploy.backends.onnxruntime.genai import GenaiLoop
from qdeploy.backends.onnxruntime.sampler import Sampler
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.errors import GenerationFailed, PromptError
from qdeploy.interface import Placement, Request, Session, Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxRuntimeSession(Session):
    """A bundle on an execution provider.

    Args:
        settings: what it was loaded with.
        placement: as it was proved.
        open_model: opens the graphs for qdeploy's own loop, and for scoring.
        loop: onnxruntime-genai's, where that generates.
    """

    def __init__(
        self,
        settings: Settings,
        placement: Placement,
        open_model: Callable[[], Model],
        loop: GenaiLoop | None,
    ) -> None:
        self._settings, self._placement, self._loop = settings, placement, loop
        self._open_model = open_model
        self._model = None if loop else open_model()
        self._closed = self._busy = False

    @property
    def context(self) -> int:
        return self._settings.context

    def placement(self) -> Placement:
        return self._placement

    def generate(self, request: Request) -> Generator[Token, None, None]:
        self._require_open()
        self._check(request.prompt_ids)
        if len(request.prompt_ids) >= self.context:
            raise PromptError(
                f"the prompt has {len(request.prompt_ids)} tokens; the session holds "
                f"{self.context}, answer included",
                fix="shorten it, or load with a larger context",
            )
        return self._tokens(request)

    def _tokens(self, request: Request) -> Generator[Token, None, None]:
        if request.max_new_tokens < 1:
            return
        self._require_open()
        self._require_idle()
        room = self.context - len(request.prompt_ids)
        count = min(request.max_new_tokens, room)
        bounded = Request(request.prompt_ids, count, request.sampling, request.stop_ids)
        made = self._loop.generate(bounded) if self._loop else self._own(bounded)
        self._busy = True
        try:
            with closing(made) as ids:
                while True:
                    with translated("generating", where=self._settings.device.name):
                        token = next(ids, None)
                    if token is None:
                        return
                    yield Token(token, time.perf_counter())
                    if token in request.stop_ids:
                        return
                    self._require_open()
        finally:
            self._busy = False

    def _own(self, request: Request) -> Generator[int, None, None]:
        model, sampler = self._own_model(), Sampler(request.sampling)
        model.begin(len(request.prompt_ids) + request.max_new_tokens)
        logits = model.feed(request.prompt_ids)
        for left in reversed(range(request.max_new_tokens)):
            token = sampler.draw(logits)
            yield token
            if left:
                logits = model.feed([token])

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        self._require_open()
        self._require_idle()
        self._check(token_ids)
        if len(token_ids) > self.context:
            raise PromptError(
                f"{len(token_ids)} tokens to score; the session holds {self.context}",
                fix="score fewer at a time",
            )
        with translated("scoring", where=self._settings.device.name):
            return self._own_model().score(token_ids)

    def close(self) -> None:
        self._closed = True
        self._model = self._loop = None

    def _own_model(self) -> Model:
        if self._model is None:
            self._model = self._open_model()
        return self._model

    def _check(self, ids: Sequence[int]) -> None:
        """Check token ids; one outside the embedding would read zeros, or foreign memory."""
        if not ids:
            raise PromptError("the prompt is empty", fix="give at least one token")
        size = self._settings.vocabulary
        wrong = next((i for i in ids if not 0 <= i < size), None)
        if wrong is not None:
            raise PromptError(
                f"token id {wrong} is outside the model's vocabulary of {size}",
                fix="use the tokenizer of the bundle",
            )

    def _require_open(self) -> None:
        if self._closed:
            raise GenerationFailed("the session is closed", where=self._settings.device.name)

    def _require_idle(self) -> None:
        """There is one cache, which a request that goes on still needs."""
        if self._busy:
            raise GenerationFailed(
                "the session is still generating for another request",
                where=self._settings.device.name,
                fix="close that request's generator first",
            )
