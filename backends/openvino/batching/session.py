"""A session that serves many requests at once, through an engine in another process."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from qdeploy.backends.openvino.batching.connection import Connection
from qdeploy.backends.openvino.placement import prove_placement
from qdeploy.backends.openvino.session import ScoringSession
from qdeploy.backends.openvino.settings import Settings
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Placement, Request, Token


class BatchedSession(ScoringSession):
    """Generates with a ContinuousBatchingPipeline.

    Args:
        folder: the bundle's.
        cache: directory for compiled blobs; None keeps none.
        device_name: for the placement.

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
        super().__init__(settings, folder, vocab_size, cache)
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

    def _close(self) -> None:
        what = "the session was closed while it was generating"
        self._connection.close(GenerationFailed(what, where=self._settings.device))
        super()._close()
