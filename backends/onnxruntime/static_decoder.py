"""The static-shape decoder, for the format `onnx-static`: a prefill graph and a decode graph.

The prefill graph takes passes of a fixed length, the decode graph one token. A pass writes the keys
and values of its tokens into the cache at their positions; its mask is causal. The cache is input
and output of each pass, so two sets of buffers alternate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.decoder import DTYPES, Model, caches, empty, present
from qdeploy.backends.onnxruntime.inference_session import open_session
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.planning.formats import ONNX_MASKED, ONNX_STATIC

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREFILL, DECODE = ONNX_STATIC.files["prefill"], ONNX_STATIC.files["decode"]


class StaticDecoder(Model):
    """Two graphs over the same weights and one cache."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._prefill = open_session(folder / PREFILL, settings)
        self._decode = open_session(folder / DECODE, settings)
        self._memory, self._number = settings.provider.memory, settings.number
        shapes = {i.name: i for i in self._prefill.get_inputs()}
        self._width = shapes["input_ids"].shape[1]
        self._context = shapes["attention_bias"].shape[3]
        self._floats = DTYPES[shapes["attention_bias"].type]
        self._tokens: list[int] = []
        self._now, self._next = self._buffers(), self._buffers()

    def sessions(self) -> list[Any]:
        return [self._prefill, self._decode]

    def _buffers(self) -> dict[str, Any]:
        ort = runtime.load()
        return {
            i.name: empty(ort, i.shape, i.type, self._memory, self._number)
            for i in caches(self._prefill)
        }

    def begin(self, capacity: int) -> None:
        """Start a new sequence. Old cache entries are overwritten before they are unmasked."""
        self._tokens = []

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        for logits in self._passes(ids):
            last: NDArray[np.float32] = logits[-1]
        return last

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        self.begin(len(ids))
        return np.concatenate(list(self._passes(ids)))

    def _passes(self, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits [tokens, V] of the new tokens of each pass."""
        done = len(self._tokens)
        self._tokens += ids
        while done < len(self._tokens):
            if len(self._tokens) - done == 1:
                start, width, session = done, 1, self._decode
            else:
                # a pass that would exceed the cache starts earlier and repeats tokens
                start = min(done, self._context - self._width)
                width, session = self._width, self._prefill
            end = min(start + width, len(self._tokens))
            logits = self._run(session, start, end, width)
            yield logits[done - start :]
            done = end

    def _run(self, session: Any, start: int, end: int, width: int) -> NDArray[np.float32]:
        """Return the logits of tokens *start* to *end*, in a pass padded to *width*."""
        import numpy as np

        ids = np.zeros((1, width), np.int64)
        ids[0, : end - start] = self._tokens[start:end]
        positions = np.arange(start, start + width, dtype=np.int64)
        later = np.arange(self._context) > positions[:, None]
        bias = np.where(later, ONNX_MASKED, 0).astype(self._floats)
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("position_ids", positions[None])
        binding.bind_cpu_input("attention_bias", bias[None, None])
        binding.bind_output("logits")
        for name, value in self._now.items():
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(present(name), self._next[name])
        session.run_with_iobinding(binding)
        self._now, self._next = self._next, self._now
        return np.asarray(binding.get_outputs()[0].numpy()[0, : end - start], np.float32)
