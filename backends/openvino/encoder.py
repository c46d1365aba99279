"""A bundle of an embedding or reranking model, compiled by a plugin without openvino-genai."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.placement import compiled_placement
from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.backends.openvino.settings import Settings
from qdeploy.interface import Encoder, Placement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVINOEncoder(Encoder):
    """A compiled model and its one infer request.

    Args:
        model: openvino_model.xml.
        cache: directory for compiled blobs; None keeps none.
        device_name: of the device, for the proof of a simulated one.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: Path,
        settings: Settings,
        vocab_size: int,
        cache: Path | None,
        device_name: str,
    ) -> None:
        properties: dict[str, Any] = dict(settings.plugin)
        if cache is not None:
            properties["CACHE_DIR"] = str(cache)
        compiled = runtime.ov.Core().compile_model(str(model), settings.device, properties)
        self._placement = compiled_placement(compiled, settings, device_name)
        self._request = compiled.create_infer_request()
        width = compiled.output(0).partial_shape[1].get_length()
        super().__init__(settings.context, vocab_size, width, device=settings.device)

    def placement(self) -> Placement:
        return self._placement

    def _encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with translated("encoding", where=self._device_name):
            self._request.infer({"input_ids": ids, "attention_mask": mask})
            made: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
            return made

    def _close(self) -> None:
        self._request = None
