"""A bundle loaded into openvino-genai's LLMPipeline."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.openvino.errors import (
    essence,
    is_about_a_schema,
    schema_refused,
    translated,
)
from qdeploy.backends.openvino.request import generation_config
from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.backends.openvino.score import Scorer, compile_scorer
from qdeploy.backends.openvino.settings import Settings
from qdeploy.backends.openvino.stream import Stream
from qdeploy.backends.openvino.white_space import WhiteSpace
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Placement, Request, Session, Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVINOSession(Session):
    """Generates with LLMPipeline, and scores with the same model compiled a second time.

    Args:
        pipeline: LLMPipeline.
        model: openvino_model.xml, compiled again at the first `score`.
        cache: directory for compiled blobs; None keeps none.
    """

    def __init__(
        self,
        runtime: Runtime,
        pipeline: Any,
        placement: Placement,
        settings: Settings,
        model: Path,
        vocab_size: int,
        cache: Path | None,
    ) -> None:
        super().__init__(settings.limits(vocab_size), device=settings.device)
        self._runtime = runtime
        self._pipeline = pipeline
        self._placement = placement
        self._settings = settings
        self._model = model
        self._cache = cache
        self._white_space = WhiteSpace(model.parent, settings.device)
        self._scorer: Scorer | None = None
        self._stream: Stream | None = None

    def placement(self) -> Placement:
        return self._placement

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        config = generation_config(self._runtime, request)
        stream = Stream(
            self._runtime, self._pipeline, request.prompt_ids, config, self._settings.device
        )
        self._stream = stream
        try:
            stream.start()
            yield from self._white_space.bounded(stream, request)
        except GenerationFailed as error:
            cause = error.__cause__
            if cause is None or not is_about_a_schema(cause):
                raise
            raise schema_refused(essence(cause), self._settings.device) from cause
        finally:
            stream.stop()
            self._stream = None

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        if self._scorer is None:
            self._scorer = compile_scorer(self._runtime, self._model, self._settings, self._cache)
        with translated("scoring", where=self._settings.device):
            return self._scorer.score(token_ids)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.stop()
        self._pipeline = None
        self._scorer = None
