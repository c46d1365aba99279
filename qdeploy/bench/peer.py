"""Peers: the same bundle run by the runtime's own library, the way its users do, without qdeploy.

A peer gets the bundle's folder, the library's own defaults and the protocol's token ids, and tells
when it had each token. One row of `PEERS` a bundle format.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qdeploy.bundle import Bundle
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.generation.latency import Timing

Generate = Callable[[Sequence[int], int], Timing]
"""Continue token ids by so many new tokens, greedily, and tell when each was there."""


@dataclass(frozen=True)
class Peer:
    """A library that runs bundles of one format.

    Attributes:
        distribution: its name on the package index.
        module: its name in Python.
        needs: a file of the bundle without which it cannot.
        targets: those that it runs the bundle on where it is told nothing; None is any.
        load: from the bundle's folder and the device's id to a `Generate`.
    """

    distribution: str
    module: str
    needs: str
    load: Callable[[Path, str], Generate]
    targets: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        return f"{self.distribution} {version(self.distribution)}"


def openvino_genai(folder: Path, device: str) -> Generate:
    """LLMPipeline with nothing set but greedy decoding, a length, and no end."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    pipeline = genai.LLMPipeline(str(folder), device)
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

    def generate(ids: Sequence[int], new: int) -> Timing:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.ignore_eos = new, False, True
        tokens, clock = ov.Tensor(np.array([ids], np.int64)), Clock()
        start = time.perf_counter()
        pipeline.generate(tokens, config, clock)
        return Timing(start, tuple(clock.stamps))

    return generate


def onnxruntime_genai(folder: Path, device: str) -> Generate:
    """The loop of its own examples. A least length keeps the end token away."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy as np
    import onnxruntime_genai as genai

    model = genai.Model(str(folder))

    def generate(ids: Sequence[int], new: int) -> Timing:
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
        return Timing(start, tuple(stamps))

    return generate


PEERS = {
    "openvino": Peer("openvino-genai", "openvino_genai", "openvino_model.xml", openvino_genai),
    "onnx": Peer(
        "onnxruntime-genai", "onnxruntime_genai", "genai_config.json", onnxruntime_genai, ("cpu",)
    ),
}


def find(bundle: Bundle) -> Peer:
    """The peer of a bundle.

    Raises:
        InputError: no library is known that runs its format directly.
        TargetUnavailable: the library is not installed.
    """
    peer = PEERS.get(bundle.manifest.format)
    if peer is None or not (bundle.path / peer.needs).is_file():
        raise InputError(
            f"no library is known that runs this bundle (format {bundle.manifest.format}) directly",
            where=bundle.path,
            fix=f"leave out --peer; it knows {', '.join(p.distribution for p in PEERS.values())}",
        )
    if peer.targets and bundle.manifest.target not in peer.targets:
        raise InputError(
            f"{peer.distribution} by itself would run this bundle on {', '.join(peer.targets)}, "
            f"not on {bundle.manifest.target}",
            where=bundle.path,
            fix="leave out --peer",
        )
    if find_spec(peer.module) is None:
        raise TargetUnavailable(
            f"the peer {peer.distribution} is not installed", f"pip install {peer.distribution}"
        )
    return peer
