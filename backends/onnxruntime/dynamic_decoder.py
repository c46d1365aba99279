"""The dynamic-shape decoder, for the format `onnx`: a cache that grows, or one written in place.

`GroupQueryAttention` writes new keys and values in place where one buffer is bound as its input and
output. Plain attention returns a longer copy in each pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.decoder import DTYPES, Model, caches, empty, present
from qdeploy.backends.onnxruntime.inference_session import open_session
from qdeploy.backends.onnxruntime.placement import assigned_nodes, prove_placement
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.planning.formats import ONNX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCORE = ONNX.files["score"]

CAPTURED, NOT_CAPTURED = "1", "-1"
"""Values of `gpu_graph_id`: replay the captured CUDA graph, or run without one."""


def generating_graph(folder: Path) -> str:
    """Name of the graph in a bundle that has the logits of the last token alone.

    Older bundles have two graphs, of which `model.onnx` is this one.
    """
    name = ONNX.files["generate"]
    return name if (folder / name).is_file() else ONNX.files["model"]


class DynamicDecoder(Model):
    """A graph that generates, and one over the same weights that scores."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        # the memory of a plugin provider is unknown here: bound values are copied to it and back
        self._in_place = settings.graph.attention == "gqa" and settings.provider.plugin is None
        self._replayed = self._in_place and settings.options.get("enable_cuda_graph") == "1"
        self._seen = self._capacity = 0
        self._values: dict[str, Any] = {}

    @cached_property
    def _session(self) -> Any:
        """Opened when it is needed: a model that only scores does without its memory."""
        return open_session(self._folder / generating_graph(self._folder), self._settings)

    def sessions(self) -> list[Any]:
        return [self._session]

    def begin(self, capacity: int) -> None:
        """Allocate the cache. A captured graph needs the same memory for all sequences."""
        self._seen = 0
        if self._replayed:
            if self._values:
                return
            capacity = self._settings.context
        self._capacity = capacity
        tokens = capacity if self._in_place else 0
        self._values = {
            i.name: empty(
                runtime.load(), (1, i.shape[1], tokens, i.shape[3]), i.type,
                self._settings.provider.memory, self._settings.number,
            )
            for i in caches(self._session)
        }  # fmt: skip

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        for piece in self._pieces(ids):
            logits = self._pass(piece)
        return logits

    def _pieces(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Split *ids* into passes of the provider's longest length."""
        step = self._settings.provider.longest_pass
        return (ids[at : at + step] for at in range(0, len(ids), step))

    def _pass(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        self._seen += len(ids)
        step = self._replayed and len(ids) == 1
        mask = np.ones((1, self._seen), np.int64)
        if step:  # a captured graph has fixed shapes: pad the mask to the whole cache
            mask = np.pad(mask, ((0, 0), (0, self._capacity - self._seen)))
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", np.array([ids], np.int64))
        binding.bind_cpu_input("attention_mask", mask)
        binding.bind_output("logits")
        memory = self._settings.provider.memory
        number = 0 if memory.kind == "cpu" else self._settings.number  # there is one CPU
        for name, value in self._values.items():
            binding.bind_ortvalue_input(name, value)
            if self._in_place:
                binding.bind_ortvalue_output(present(name), value)
            else:
                binding.bind_output(present(name), memory.kind, number)
        self._session.run_with_iobinding(binding, self._run_options(step))
        logits, *grown = binding.get_outputs()
        if not self._in_place:
            self._values = dict(zip(self._values, grown, strict=True))
        return np.asarray(logits.numpy()[0, -1], np.float32)

    def _run_options(self, step: bool) -> Any:
        """Capture decode steps only: their shapes are fixed, and the cache stays in place."""
        if not self._replayed:
            return None
        options = runtime.load().RunOptions()
        options.add_run_config_entry("gpu_graph_id", CAPTURED if step else NOT_CAPTURED)
        return options

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        names = [i.name for i in caches(self._scorer)]
        past = {
            i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), DTYPES[i.type])
            for i in caches(self._scorer)
        }
        found, seen = [], 0
        for piece in self._pieces(ids):
            seen += len(piece)
            inputs: dict[str, Any] = dict(past)
            inputs["input_ids"] = np.array([piece], np.int64)
            inputs["attention_mask"] = np.ones((1, seen), np.int64)
            logits, *grown = self._scorer.run(["logits", *map(present, names)], inputs)
            past = dict(zip(names, grown, strict=True))
            found.append(np.asarray(logits[0], np.float32))
        return np.concatenate(found)

    @cached_property
    def _scorer(self) -> Any:
        session = open_session(self._folder / SCORE, self._settings)
        prove_placement(assigned_nodes(session), self._settings)
        return session
