"""A bundle loaded into openvino-genai's LLMPipeline."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.openvino import prompts
from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.request import generation_config
from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.backends.openvino.score import Scorer, check_length, compile_scorer
from qdeploy.backends.openvino.settings import Settings
from qdeploy.backends.openvino.stream import Stream
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Placement, Request, Session, Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVINOSession(Session):
    """Generates with LLMPipeline; scores with the same model compiled by itself.

    Args:
        pipeline: LLMPipeline.
        model: openvino_model.xml, compiled again at the first `score`.
        cache: folder for compiled blobs, None to keep none.
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
        self._runtime = runtime
        self._pipeline = pipeline
        self._placement = placement
        self._settings = settings
        self._model = model
        self._vocab_size = vocab_size
        self._cache = cache
        self._scorer: Scorer | None = None
        self._stream: Stream | None = None

    @property
    def context(self) -> int:
        return self._settings.context

    @property
    def prompt_limit(self) -> int:
        return self._settings.prompt_limit

    def placement(self) -> Placement:
        return self._placement

    def generate(self, request: Request) -> Generator[Token, None, None]:
        self._require_open()
        prompts.check(request.prompt_ids, self._settings, self._vocab_size)
        return self._tokens(request)

    def _tokens(self, request: Request) -> Generator[Token, None, None]:
        if request.max_new_tokens < 1:
            return
        self._require_open()
        if self._stream is not None:
            raise GenerationFailed(
                "the session is still generating for another request",
                where=self._settings.device,
                fix="close that request's generator first",
            )
        room = self._settings.context - len(request.prompt_ids)
        config = generation_config(self._runtime, request, room)
        stream = Stream(
            self._runtime, self._pipeline, request.prompt_ids, config, self._settings.device
        )
        self._stream = stream
        try:
            stream.start()
            yield from stream
        finally:
            stream.stop()
            self._stream = None

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        self._require_open()
        prompts.check_ids(token_ids, self._vocab_size)
        check_length(token_ids, self._settings)
        if self._scorer is None:
            self._scorer = compile_scorer(self._runtime, self._model, self._settings, self._cache)
        with translated("scoring", where=self._settings.device):
            return self._scorer.score(token_ids)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.stop()
        self._pipeline = None
        self._scorer = None

    def _require_open(self) -> None:
        if self._pipeline is None:
            raise GenerationFailed("the session is closed", where=self._settings.device)
