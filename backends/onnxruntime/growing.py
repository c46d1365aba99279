"""The format `onnx` in qdeploy's own loop: a cache that grows, or one that is written in place.

`GroupQueryAttention` writes new keys and values into the buffer it is given if that is bound as its
output, too; plain attention makes a longer copy each pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.model import Model, caches, empty, present
from qdeploy.backends.onnxruntime.opening import open_session
from qdeploy.backends.onnxruntime.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GENERATE, SCORE = "model.onnx", "score.onnx"


class GrowingModel(Model):
    """One graph that makes tokens, and one over the same weights that scores."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._session = open_session(folder / GENERATE, settings)
        self._in_place = settings.graph.attention == "gqa"
        self._seen = 0
        self._values: dict[str, Any] = {}

    def session(self) -> Any:
        return self._session

    def begin(self, capacity: int) -> None:
        ort = runtime.load()
        self._seen = 0
        tokens = capacity if self._in_place else 0
        self._values = {
            i.name: empty(ort, (1, i.shape[1], tokens, i.shape[3]), i.type, self._memory)
            for i in caches(self._session)
        }

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        self._seen += len(ids)
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", np.array([ids], np.int64))
        binding.bind_cpu_input("attention_mask", np.ones((1, self._seen), np.int64))
        binding.bind_output("logits")
        for name, value in self._values.items():
            binding.bind_ortvalue_input(name, value)
            if self._in_place:
                binding.bind_ortvalue_output(present(name), value)
            else:
                binding.bind_output(present(name), self._memory)
        self._session.run_with_iobinding(binding)
        logits, *grown = binding.get_outputs()
        if not self._in_place:
            self._values = dict(zip(self._values, grown, strict=True))
        return np.asarray(logits.numpy()[0, -1], np.float32)

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        inputs = {
            i.name: empty(runtime.load(), (1, i.shape[1], 0, i.shape[3]), i.type, "cpu").numpy()
            for i in caches(self._scorer)
        }
        inputs["input_ids"] = np.array([ids], np.int64)
        inputs["attention_mask"] = np.ones((1, len(ids)), np.int64)
        return np.asarray(self._scorer.run(["logits"], inputs)[0][0], np.float32)

    @cached_property
    def _scorer(self) -> Any:
        return open_session(self._folder / SCORE, self._settings)

    @property
    def _memory(self) -> str:
        return self._settings.provider.memory
