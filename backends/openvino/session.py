"""Sessions: what all of them do, and the one that serves a single request with LLMPipeline."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.openvino import runtime
from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.request import generation_config
from qdeploy.backends.openvino.schema import check_schema
from qdeploy.backends.openvino.score import Scorer, compile_scorer
from qdeploy.backends.openvino.settings import Settings
from qdeploy.backends.openvino.stream import Stream
from qdeploy.backends.openvino.white_space import WhiteSpace
from qdeploy.interface import Placement, Request, Session, Token
from qdeploy.planning.formats import OPENVINO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ScoringSession(Session):
    """Scores with the model, compiled for that at the first `score`; checks JSON schemas.

    Args:
        folder: the bundle's.
        cache: directory for compiled blobs; None keeps none.
    """

    def __init__(
        self, settings: Settings, folder: Path, vocab_size: int, cache: Path | None
    ) -> None:
        super().__init__(settings.limits(vocab_size), device=settings.device)
        self._settings = settings
        self._folder = folder
        self._cache = cache
        self._white_space = WhiteSpace(folder, settings.device)
        self._scorer: Scorer | None = None

    def check_wishes(self, request: Request) -> None:
        super().check_wishes(request)
        if request.json_schema is not None:
            check_schema(request.json_schema, self._settings.device)

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        if self._scorer is None:
            model = self._folder / OPENVINO.files["model"]
            self._scorer = compile_scorer(runtime.load(), model, self._settings, self._cache)
        with translated("scoring", where=self._settings.device):
            return self._scorer.score(token_ids)

    def _close(self) -> None:
        self._scorer = None


class OpenVINOSession(ScoringSession):
    """Generates with LLMPipeline, one request at a time.

    Args:
        pipeline: LLMPipeline.
        folder: the bundle's.
        cache: directory for compiled blobs; None keeps none.
    """

    def __init__(
        self,
        loaded: runtime.Runtime,
        pipeline: Any,
        placement: Placement,
        settings: Settings,
        folder: Path,
        vocab_size: int,
        cache: Path | None,
    ) -> None:
        super().__init__(settings, folder, vocab_size, cache)
        self._runtime = loaded
        self._pipeline = pipeline
        self._placement = placement
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
        finally:
            stream.stop()
            self._stream = None

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.stop()
        self._pipeline = None
        super()._close()
