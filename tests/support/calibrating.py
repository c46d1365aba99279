"""Runs the calibration of a small checkpoint, and the models before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from qdeploy.calibration.arrays import Arrays
from qdeploy.calibration.importance.weighting import Weighting
from qdeploy.calibration.layers.builder import CalibratingBuilder
from qdeploy.calibration.layers.rounded_inputs import RoundedInputs
from qdeploy.calibration.layers.streams import Streams
from qdeploy.calibration.layers.weights import Weights
from qdeploy.calibration.smoothing.sites import find_sites
from qdeploy.calibration.store import CodeStore
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, WrappedReader, open_weights
from qdeploy.forward.forward import Forward
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision

Floats = NDArray[np.float32]
Ids = Sequence[Sequence[int]]
INT4 = Precision(dtype="int4", group_size=32)


def draw_ids(count: int, length: int, vocabulary: int = 2000, seed: int = 0) -> list[list[int]]:
    """Sequences of random tokens."""
    drawn = np.random.default_rng(seed).integers(0, vocabulary, (count, length))
    return [row.tolist() for row in drawn]


def tensors_of(checkpoint: Checkpoint, precision: Precision = INT4) -> list[TensorPlan]:
    """Plans of all linear weights, of one precision."""
    return [
        TensorPlan(weight.name, weight.shape, described.role, precision, 0, described.expert)
        for weight in checkpoint.weights
        if (described := checkpoint.described[weight.name]).role == "linear"
    ]


def run(
    folder: Path,
    ids: Ids,
    into: Path,
    *,
    precision: Precision = INT4,
    progress: Callable[[int], None] = lambda step: None,
    weighting: Weighting | None = None,
    rounds: bool = False,
    static: bool = False,
) -> Weights:
    """Calibrate the checkpoint in *folder*, from where an earlier run into *into* ended.

    *rounds*: whether inputs are rounded to int8, by *static* scales or token by token.
    """
    checkpoint = read_checkpoint(folder)
    into.mkdir(exist_ok=True)
    sites = find_sites(checkpoint.architecture, checkpoint.graph(None)) if rounds else ()
    store = CodeStore(into, tensors_of(checkpoint, precision), sites)
    config, arrays = checkpoint.graph(None), Arrays(into)
    done, losses = store.finished()
    weights = Weights(store.smoothed(open_weights(checkpoint)), store, losses)
    build = CalibratingBuilder(
        weights,
        config,
        ids,
        arrays=arrays,
        streams=Streams(into, sum(map(len, ids)), config.hidden, arrays),
        weighting=weighting or Weighting(),
        rounding=RoundedInputs(weights, store.sites, static=static),
        done=done,
        progress=progress,
    )
    with threadpool_limits(1, user_api="blas"):
        checkpoint.architecture.hidden(build, config)
    return weights


class Changed(WrappedReader):
    """A checkpoint's weights, some of which are others."""

    def __init__(self, source: WeightReader, others: Mapping[str, Floats]) -> None:
        super().__init__(source)
        self._others = others

    def rows(self, name: str, *span: int | None, **options: Any) -> Floats:
        if name in self._others:
            return self._others[name][slice(*span)] if span else self._others[name]
        return self._source.rows(name, *span, **options)  # type: ignore[arg-type]


def calibrated(weights: Weights) -> dict[str, Floats]:
    """The dequantized weights that were found, by name."""
    store = weights.store
    return {n: store.read(n, 0, p.shape[0]).dequantize() for n, p in store.places.items()}


def rounded_without_data(weights: Weights) -> dict[str, Floats]:
    """The same weights, each rounded by itself."""
    places = weights.store.places
    return {
        n: quantize(weights.source.rows(n), p.precision).dequantize() for n, p in places.items()
    }


def hidden(folder: Path, ids: Ids, others: Mapping[str, Floats] | None = None) -> Floats:
    """Hidden states of all tokens, [T, H], with *others* in place of some weights."""
    checkpoint = read_checkpoint(folder)
    source = Changed(open_weights(checkpoint), others or {})
    forward = Forward(source, checkpoint.architecture, checkpoint.graph(None))
    return np.concatenate(forward.hidden(ids, lambda done, total: None))
