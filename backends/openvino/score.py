"""Teacher-forced logits from the compiled model, since LLMPipeline does not return logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.openvino import npu
from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.placement import check_devices
from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.backends.openvino.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 512
"""Tokens per pass: at most this many rows of logits exist twice."""


class Scorer(ABC):
    """The model, compiled a second time with the pipeline's device and properties."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = {name for port in compiled.inputs for name in port.names}
        self._vocab_size = compiled.output("logits").partial_shape[2].get_length()

    @abstractmethod
    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return logits, float32 [T, V]."""

    def _run(self, ids: Sequence[int], mask: Sequence[int], start: int) -> NDArray[np.float32]:
        """Infer tokens at the positions from *start* on; return their logits, [rows, V].

        The attention *mask* covers all tokens so far, these included.
        """
        import numpy as np

        positions = np.arange(start, start + len(ids), dtype=np.int64)
        feed = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.array([mask], dtype=np.int64),
            "position_ids": positions[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer({name: feed[name] for name in self._inputs})
        logits: NDArray[np.float32] = self._request.get_tensor("logits").data[0]
        return logits


class WholeScorer(Scorer):
    """CPU and GPU: a pass returns a row for each of its tokens."""

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        self._request.reset_state()
        rows: NDArray[np.float32] = np.empty((len(ids), self._vocab_size), dtype=np.float32)
        for start in range(0, len(ids), CHUNK):
            end = min(start + CHUNK, len(ids))
            rows[start:end] = self._run(ids[start:end], [1] * end, start)
        return rows


class StepScorer(Scorer):
    """NPU: a pass returns its last row only, so each token takes one pass.

    All rows but the first two come from the decode graph, as in a session.
    """

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        # A single token does not reset the cache (see npu.SHORTEST_PROMPT), so a masked token comes
        # before it. That shifts its position by one, to which RoPE is invariant.
        self._request.reset_state()
        rows: NDArray[np.float32] = np.empty((len(ids), self._vocab_size), dtype=np.float32)
        rows[0] = self._run([ids[0], ids[0]], [0, 1], 0)[-1]
        self._request.reset_state()
        for at in range(1, len(ids)):
            new, start = (ids[:2], 0) if at == 1 else (ids[at : at + 1], at)
            rows[at] = self._run(new, [1] * (at + 1), start)[-1]
        return rows


def compile_scorer(runtime: Runtime, model: Path, settings: Settings, cache: Path | None) -> Scorer:
    """Compile *model* (openvino_model.xml) for scoring.

    Raises:
        GenerationFailed: the runtime could not compile it.
        PlacementError: it was placed elsewhere.
    """
    properties = dict(settings.plugin)
    if settings.on_npu:
        properties = npu.plugin_properties(properties)
    if cache is not None:
        properties["CACHE_DIR"] = str(cache)
    with translated(f"compiling for {settings.device}", where=model):
        compiled = runtime.ov.Core().compile_model(str(model), settings.device, properties)
        named = compiled.get_property("EXECUTION_DEVICES")  # NPUW returns a plain string
        check_devices((named,) if isinstance(named, str) else tuple(named), settings)
        return StepScorer(compiled) if settings.on_npu else WholeScorer(compiled)
