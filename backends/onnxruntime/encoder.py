"""A bundle of an embedding or reranking model on an execution provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.onnxruntime.errors import translated
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.interface import Encoder, Placement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxRuntimeEncoder(Encoder):
    """An InferenceSession of a graph without a cache.

    Args:
        session: the InferenceSession.
        settings: the resolved settings.
        placement: the proved placement.
    """

    def __init__(self, session: Any, settings: Settings, placement: Placement) -> None:
        width = session.get_outputs()[0].shape[1]
        longest = settings.provider.longest_text or settings.context
        context = min(settings.context, longest)
        super().__init__(context, settings.vocabulary, width, device=settings.device.name)
        self._session, self._placement = session, placement

    def placement(self) -> Placement:
        return self._placement

    def _encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with translated("encoding", where=self._device_name):
            made: NDArray[np.float32]
            (made,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
            return made

    def _close(self) -> None:
        self._session = None
