"""onnxruntime-genai by itself, which bundles of the format `onnx` are compared with."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from qdeploy.backends.onnxruntime.settings import THREADS
from qdeploy.interface import Peer, PeerRun
from qdeploy.planning.formats import ONNX
from qdeploy.targets import CPU


def load(folder: Path, device: str, threads: int | None) -> PeerRun:
    """Return the loop of the library's own examples.

    The number of threads is set, since the library's default is half of the processors. A minimum
    length suppresses the end token.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy as np
    import onnxruntime_genai as genai

    config = genai.Config(str(folder))
    if threads is not None:
        options = {"session_options": {THREADS: threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
    model = genai.Model(config)

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
