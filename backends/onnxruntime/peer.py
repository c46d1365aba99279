"""onnxruntime-genai by itself, which bundles of the format `onnx` are compared with."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from qdeploy.interface import Peer, PeerRun
from qdeploy.planning.formats import ONNX
from qdeploy.targets import CPU


def load(folder: Path, device: str) -> PeerRun:
    """The loop of its own examples. A least length keeps the end token away."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy as np
    import onnxruntime_genai as genai

    model = genai.Model(str(folder))

    def generate(ids: Sequence[int], new: int) -> tuple[float, Sequence[float]]:
        parameters = genai.GeneratorParams(model)
        total = len(ids) + new
        parameters.set_search_options(do_sample=False, min_length=total, max_length=total)
        stamps = []
        tokens = np.array(ids, np.int32)
        start = time.perf_counter()
        generator = genai.Generator(model, parameters)
        generator.append_tokens(tokens)
        for _ in range(new):
            generator.generate_next_token()
            stamps.append(time.perf_counter())
        return start, stamps

    return generate


PEER = Peer(
    "onnxruntime-genai", "onnxruntime_genai", ONNX.files["genai_config"], load, targets=(CPU.name,)
)
