"""openvino-genai by itself, which bundles of the format `openvino` are compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdeploy.backends.openvino.settings import THREADS
from qdeploy.interface import Peer, PeerRun
from qdeploy.planning.formats import OPENVINO


def load(folder: Path, device: str, threads: int | None) -> PeerRun:
    """Return an LLMPipeline with its defaults, apart from the number of threads.

    It decodes greedily to the requested length and ignores the end token.
    """
    import numpy as np
    import openvino_genai as genai

    import openvino as ov

    properties = {} if threads is None else {THREADS: threads}
    pipeline = genai.LLMPipeline(str(folder), device, **properties)
    base: Any = genai.StreamerBase

    class Clock(base):  # type: ignore[misc]  # a base without types
        def __init__(self) -> None:
            super().__init__()
            self.stamps: list[float] = []

        def write(self, token: int | list[int]) -> Any:
            many = len(token) if isinstance(token, list) else 1
            self.stamps += [time.perf_counter()] * many
            return genai.StreamingStatus.RUNNING

        def end(self) -> None:
            pass

    def generate(ids: Sequence[int], new: int) -> tuple[float, Sequence[float]]:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.ignore_eos = new, False, True
        tokens, clock = ov.Tensor(np.array([ids], np.int64)), Clock()
        start = time.perf_counter()
        pipeline.generate(tokens, config, clock)
        return start, clock.stamps

    return generate


PEER = Peer("openvino-genai", "openvino_genai", OPENVINO.files["model"], load)
