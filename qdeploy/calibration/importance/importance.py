"""How much each token counts in the calibration of each linear layer.

Rounding changes a layer's output. To first order, the loss of `labels` changes by the gradient at
that output times the change, so the error at a token counts by the gradient's energy there: its sum
of squares. That weighs tokens by the layer's block of the Fisher information.

The gradient is exact and computed in NumPy, layer by layer: the residual stream before each layer
is written to a file on the way up, and replaced by its gradient on the way down. Tokens go through
a layer in groups of whole sequences, so memory does not grow with tokens, layers or experts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.calibration.importance.energies import Energies, States
from qdeploy.calibration.importance.labels import uniforms
from qdeploy.calibration.importance.segments import describe
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.storage.atomic import write_file

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of steps that are done, and of all."""

CAP = 20
"""No token counts more than this many times the mean: a few, such as a sequence's first ones, would
otherwise be all that is calibrated for."""
ENERGIES = "energies"
"""Name of the array of all layers' own energies, in alphabetical order, in the file."""
FILE, STATES = "importance.safetensors", "residual_stream.bin"
"""The result, and the file that exists while it is computed."""


@dataclass(frozen=True)
class Importance:
    """Weights of tokens, float32 [T] with a mean of one, for linear layers.

    Attributes:
        weights: by key.
        shares: keys by the names of the layers' weights; see `segments.describe`.
        energies: of each layer's own outputs, not capped, mean over all tokens.
    """

    weights: Mapping[str, Floats]
    shares: Mapping[str, str]
    energies: Mapping[str, float]

    def of(self, weight: str) -> Floats:
        """Weights of the tokens, in the order of the sequences, for a linear layer.

        Layers that read the same tokens share them: query, key and value, or gate and up, have the
        sum of their energies. For a block of experts, all gates and ups, and the router by its
        name, have the sum over the experts, and all downs have the energy of the block's output.

        Raises:
            KeyError: the model has no linear layer with a weight of that name.
        """
        return self.weights[self.shares[weight]]

    def energy(self, weight: str) -> float:
        """Mean over the tokens of the gradient's sum of squares at one layer's outputs.

        Of an expert's layer, tokens that do not reach it count as zeros.
        """
        return self.energies.get(weight, 0.0)


def token_importance(
    source: WeightReader,
    architecture: Architecture,
    config: GraphConfig,
    sequences: Sequence[Sequence[int]],
    *,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Importance:
    """Weigh the tokens of *sequences*, each of at least one token id, for every linear layer.

    Args:
        source: the weights.
        architecture: of a model that generates.
        config: the numbers of its graph.
        sequences: calibration text; they do not see each other.
        seed: decides the labels, together with the index of each sequence.
        folder: where the result is kept, which is returned when it is there already: a folder
            belongs to one set of all other arguments. It needs room for `stored_bytes`.
        progress: told of each group of sequences that went through a layer.

    Raises:
        CheckpointError: a weight is infinite or not a number.
        OSError: the folder cannot be written, or the disk is full.
    """
    model, tokens = describe(architecture, config), sum(map(len, sequences))
    names = sorted(model.shares)
    stored = _load(folder / FILE, set(model.shares.values()), tokens, len(names))
    if stored is None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with (folder / STATES).open("w+b") as file:
                states = States(file, tokens, config.hidden)
                made = Energies(source, model, config, sequences, states, progress)
                found = made.of_labels(uniforms(sequences, seed))
        finally:
            (folder / STATES).unlink(missing_ok=True)
        stored = {key: capped(values) for key, values in found.items()}
        stored[ENERGIES] = np.array([made.sums[name] / tokens for name in names], np.float32)
        write_file(folder / FILE, save(stored))
    energies = dict(zip(names, stored.pop(ENERGIES).tolist(), strict=True))
    return Importance(stored, model.shares, energies)


def capped(found: Floats) -> Floats:
    """Scale energies to a mean of one, and cap them so that none is above `CAP` after that.

    Capping lowers the mean, and so the cap. With the k largest of T capped and the others' sum S,
    the cap is c = CAP (k c + S) / T, so c = CAP S / (T - CAP k); k is the least for which the next
    largest is below c.
    """
    values = np.sort(found.astype(np.float64))[::-1]
    if not values[0] > 0:  # a result that the loss does not depend on
        return np.ones_like(found)
    count = np.arange(-(-len(values) // CAP))
    others = np.cumsum(values[::-1])[::-1][: len(count)]
    caps = CAP * others / (len(values) - CAP * count)
    fits = caps >= values[: len(count)]
    fits[-1] = True
    # where all others are zero, those that count can only count the same
    cap = caps[np.argmax(fits)] or values[values > 0][-1]
    kept = np.minimum(found, cap)
    return np.asarray(kept / kept.mean(dtype=np.float64), np.float32)


def stored_bytes(config: GraphConfig, tokens: int) -> int:
    """Most bytes that `token_importance` writes to its folder while it computes, but the result:
    the residual stream before and after each layer, float32.
    """
    return 4 * (config.layers + 1) * tokens * config.hidden


def _load(path: Path, keys: Collection[str], tokens: int, layers: int) -> dict[str, Floats] | None:
    """What an earlier call wrote; None for nothing, or for what is not of this model and length."""
    with suppress(OSError, SafetensorError):
        found = load_file(path)
        wanted = dict.fromkeys(keys, (tokens,)) | {ENERGIES: (layers,)}
        if {key: values.shape for key, values in found.items()} == wanted:
            return found
    return None
