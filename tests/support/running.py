"""OpenVINO's CPU plugin, in float32 throughout, for tests that need a real runtime."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.backends.openvino.isa import limited_properties

EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
"""Settings of the CPU plugin that keep the graph's own arithmetic."""


class Model:
    """A compiled model and its cache."""

    def __init__(self, folder: Path, properties: Mapping[str, str] = EXACT) -> None:
        ov = pytest.importorskip("openvino")
        file = str(folder / "openvino_model.xml")
        self.compiled = ov.Core().compile_model(
            file, "CPU", {**limited_properties(os.environ), **properties}
        )
        self._request = self.compiled.create_infer_request()
        self._past = 0

    def reset(self) -> None:
        self._request.reset_state()
        self._past = 0

    def feed(
        self, ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Return the logits, float32 [B, L, V], of tokens [B, L] that continue the sequence.

        A *mask* is for a first pass only; positions count unmasked tokens.
        """
        batch, length = ids.shape
        seen = np.ones((batch, self._past + length), np.int64) if mask is None else mask
        positions = np.maximum(seen.cumsum(axis=1) - 1, 0)[:, self._past :]
        self._request.infer(
            {
                "input_ids": ids,
                "attention_mask": seen,
                "position_ids": positions,
                "beam_idx": np.arange(batch, dtype=np.int32),
            }
        )
        self._past += length
        found: NDArray[np.float32] = self._request.get_tensor("logits").data.copy()
        return found

    def operators(self) -> Counter[str]:
        """Count the operators of each kind in the graph that the plugin runs."""
        nodes = self.compiled.get_runtime_model().get_ops()
        return Counter(node.get_rt_info()["layerType"] for node in nodes)
