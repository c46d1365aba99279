"""A bundle on an execution provider: generates with one loop or the other, and scores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from qdeploy.backends.onnxruntime.batching import Batch
from qdeploy.backends.onnxruntime.decoder import Model
from qdeploy.backends.onnxruntime.errors import translated
from qdeploy.backends.onnxruntime.genai import GenaiLoop
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.interface import Limits, Placement, Request, Session, Token
from qdeploy.interface.logprobs import MOST_LOGPROBS, token_of
from qdeploy.interface.sampler import Sampler
from qdeploy.interface.schema import SchemaGuide, SchemaMask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxRuntimeSession(Session):
    """A bundle on an execution provider.

    Args:
        settings: the resolved settings.
        placement: the proved placement.
        open_model: opens the graphs, for qdeploy's own loop and for scoring.
        loop: onnxruntime-genai's loop, or one that batches; None where qdeploy's own for single
            requests generates.
        schemas: compiles JSON schemas; None where the library for them is missing.
    """

    def __init__(
        self,
        settings: Settings,
        placement: Placement,
        open_model: Callable[[], Model],
        loop: GenaiLoop | Batch | None,
        schemas: SchemaGuide | None,
    ) -> None:
        limits = Limits(
            settings.context, settings.vocabulary, concurrency=settings.concurrency,
            logprobs=MOST_LOGPROBS, json_schema=schemas is not None,
        )  # fmt: skip
        super().__init__(limits, device=settings.device.name, schemas=schemas)
        self._settings, self._placement, self._loop = settings, placement, loop
        self._open_model = open_model
        self._model = None if loop else open_model()

    def placement(self) -> Placement:
        return self._placement

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        schema = self._schema_of(request)
        loop = self._loop
        made = loop.generate(request, schema) if loop else self._own(request, schema)
        with closing(made) as tokens:
            while True:
                with translated("generating", where=self._settings.device.name):
                    token = next(tokens, None)
                if token is None:
                    return
                yield token

    def _own(self, request: Request, schema: SchemaMask | None) -> Generator[Token, None, None]:
        model, sampler = self._own_model(), Sampler(request.sampling, request.prompt_ids, schema)
        model.begin(len(request.prompt_ids) + request.max_new_tokens)
        logits = model.feed(request.prompt_ids)
        for left in reversed(range(request.max_new_tokens)):
            token = sampler.draw(logits)
            yield token_of(request, token, logits)
            if left:
                logits = model.feed([token])

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        with translated("scoring", where=self._settings.device.name):
            return self._own_model().score(token_ids)

    def _close(self) -> None:
        if isinstance(self._loop, Batch):
            self._loop.close()
        self._model = self._loop = None

    def _own_model(self) -> Model:
        if self._model is None:
            self._model = self._open_model()
        return self._model
