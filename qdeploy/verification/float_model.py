"""qdeploy's float reference against transformers' model, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.evaluate.divergence import Tally
from qdeploy.forward.forward import Forward, NumpyBuilder, Value
from qdeploy.verification.outcome import Check, Distance
from qdeploy.verification.transformers_model import LoadReport, Reading

PART = "float model"
MOST_DIFFERENCE = 1e-3
"""Of hidden states. Rounding in float32 causes 5e-6 in qwen3-nano's four layers; a wrong tensor
causes far more than this in the layer that reads it."""
MOST_KL = 1e-6
"""Nats per token. Rounding in float32 causes 8e-12 in qwen3-nano."""

Floats = NDArray[np.float32]


class Recorder(NumpyBuilder):
    """Keeps the residual stream that enters each layer, float32 [tokens, H] of all sequences."""

    entering: list[Floats]
    _stream: Value

    def embedding(self, weight: str) -> Value:
        self.entering = []
        self._stream = super().embedding(weight)
        return self._stream

    def add(self, x: Value, y: Value) -> Value:
        self._stream = super().add(x, y)
        return self._stream

    def attention(self, layer: int, query: Value, key: Value, value: Value) -> Value:
        self.entering.append(self.value(self._stream))
        return super().attention(layer, query, key, value)


def read_own(
    source: WeightReader,
    architecture: Architecture,
    config: GraphConfig,
    passages: Sequence[Sequence[int]],
) -> list[Reading]:
    """What qdeploy's float reference computes for each passage."""
    build = Recorder(source, config, passages, lambda done, total: None)
    last = build.value(architecture.hidden(build, config))
    cuts = np.cumsum([len(ids) for ids in passages])[:-1]
    stages = [np.split(stage, cuts) for stage in (*build.entering, last)]
    forward = Forward(source, architecture, config)
    outputs: Sequence[Floats] = (
        [forward.logits(hidden) for hidden in stages[-1]]
        if config.task.generates
        else list(forward.pooled([hidden[-1] for hidden in stages[-1]]))
    )
    hidden = zip(*stages, strict=True)
    return [Reading(tuple(h), output) for h, output in zip(hidden, outputs, strict=True)]


def compare_layers(theirs: Sequence[Reading], ours: Sequence[Reading]) -> list[Distance]:
    """Distance of every stage, the largest of all tokens of all passages."""
    stages = ["embedding", *(f"layer {i}" for i in range(len(theirs[0].hidden) - 1))]
    pairs = list(zip(theirs, ours, strict=True))
    return [
        Distance(name, max(_distance(a.hidden[i], b.hidden[i]) for a, b in pairs))
        for i, name in enumerate(stages)
    ]


def check_layers(distances: Sequence[Distance]) -> Check:
    """The check of all layers: its failure names the first that differs."""
    largest = max(d.difference for d in distances)
    found = f"{len(distances)} stages, difference at most {largest:.2g}"
    first = next((d for d in distances if not d.difference <= MOST_DIFFERENCE), None)
    failure = None
    if first:
        failure = (
            f"{first.stage} is the first that differs, by {first.difference:.2g} of its size; "
            f"rounding causes less than {MOST_DIFFERENCE:g}"
        )
    return Check(PART, "hidden states", found, failure)


def check_logits(
    theirs: Sequence[Reading], ours: Sequence[Reading], passages: Sequence[Sequence[int]]
) -> Check:
    """The check of the logits: KL divergence of ours from theirs."""
    tally = Tally()
    for a, b, ids in zip(theirs, ours, passages, strict=True):
        tally.add(a.output, b.output, np.roll(np.array(ids), -1))
    kl = tally.figures().kl_mean
    most = max(float(np.abs(a.output - b.output).max()) for a, b in zip(theirs, ours, strict=True))
    failure = None
    if not kl <= MOST_KL:
        failure = f"KL divergence {kl:.2g} nats per token; rounding causes less than {MOST_KL:g}"
    found = f"KL {kl:.2g} nats per token, largest difference {most:.2g}"
    return Check(PART, "logits", found, failure)


def check_encodings(theirs: Sequence[Reading], ours: Sequence[Reading]) -> Check:
    """The check of embeddings or scores: the largest difference of one, by its norm."""
    most = max(_distance(a.output, b.output) for a, b in zip(theirs, ours, strict=True))
    failure = None
    if not most <= MOST_DIFFERENCE:
        failure = f"they differ by {most:.2g} of their size"
    return Check(PART, "encodings", f"{len(theirs)} texts, difference at most {most:.2g}", failure)


def check_loading(report: LoadReport, dropped: Mapping[str, str]) -> Check:
    """The check of the names: what transformers did not find, or did not use.

    Args:
        report: of transformers' loading.
        dropped: tensors that qdeploy leaves out knowingly, and why.
    """
    unused = [name for name in report.unexpected if name not in dropped]
    complaints = {
        "transformers does not find": report.missing,
        "transformers finds with another shape": report.mismatched,
        "neither uses, and the plan does not list as dropped,": unused,
    }
    failure = "; ".join(filter(None, starmap(_complaint, complaints.items()))) or None
    count = len(report.unexpected) - len(unused)
    return Check(PART, "stored tensors", f"{count} left out by both", failure)


def _complaint(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{what} {names[0]}{more}"


def _distance(theirs: Floats, ours: Floats) -> float:
    """The largest difference of a token's state [T, H], as a fraction of its norm; inf for NaN."""
    if theirs.shape != ours.shape:
        return float("inf")
    size = np.linalg.norm(theirs.astype(np.float64), axis=-1)
    apart = np.linalg.norm(theirs.astype(np.float64) - ours, axis=-1)
    worst = float((apart / np.maximum(size, np.finfo(np.float32).tiny)).max())
    return worst if np.isfinite(worst) else float("inf")
