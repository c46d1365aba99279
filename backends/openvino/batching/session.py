"""A session that serves many requests at once, through an engine in another process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.backends.openvino import runtime
from qdeploy.backends.openvino.batching.connection import Connection
from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.placement import prove_placement
from qdeploy.backends.openvino.score import Scorer, compile_scorer
from qdeploy.backends.openvino.settings import Settings
from qdeploy.backends.openvino.white_space import WhiteSpace
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Placement, Request, Session, Token
from qdeploy.planning.formats import OPENVINO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BatchedSession(Session):
    """Generates with a ContinuousBatchingPipeline, and scores with the same model compiled here.

    Args:
        folder: the bundle's.
        device_name: for the placement.
        cache: directory for compiled blobs; None keeps none.

    Raises:
        GenerationFailed: the runtime could not load it.
        PlacementError: it was placed elsewhere.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        vocab_size: int,
        cache: Path | None,
        device_name: str,
    ) -> None:
        super().__init__(settings.limits(vocab_size), device=settings.device)
        self._settings, self._folder, self._cache = settings, folder, cache
        self._white_space = WhiteSpace(folder, settings.device)
        self._scorer: Scorer | None = None
        self._connection = Connection(
            {
                "folder": str(folder),
                "device": settings.device,
                "plugin": dict(settings.plugin),
                "scheduler": dict(settings.scheduler or {}),
                "cache": None if cache is None else str(cache),
                "vocab_size": vocab_size,
            }
        )
        try:
            self._placement = prove_placement(self._connection.log, settings, device_name)
        except BaseException:
            self.close()
            raise

    def placement(self) -> Placement:
        return self._placement

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        number, answer = self._connection.open(request)
        try:
            yield from self._white_space.bounded(answer, request)
        finally:
            self._connection.cancel(number, answer)

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        if self._scorer is None:
            model = self._folder / OPENVINO.files["model"]
            self._scorer = compile_scorer(runtime.load(), model, self._settings, self._cache)
        with translated("scoring", where=self._settings.device):
            return self._scorer.score(token_ids)

    def _close(self) -> None:
        what = "the session was closed while it was generating"
        self._connection.close(GenerationFailed(what, where=self._settings.device))
        self._scorer = None
