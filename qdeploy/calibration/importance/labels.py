"""The loss of calibration: negative log-likelihood of labels that the model itself draws.

Its gradient at the logits is p - onehot(y) with y ~ p. The mean of its outer product is the Fisher
information of the model's distribution, whatever the calibration text says next.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.importance.gradient import energy, multiply_gradient
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import multiply

Floats = NDArray[np.float32]

LOGIT_BYTES = 128 * 2**20
"""Size of the logits that exist at a time, float32 [tokens, V]."""


def uniforms(sequences: Sequence[Sequence[int]], seed: int) -> NDArray[np.float64]:
    """One number in [0, 1) for each token, [tokens]: those of a sequence depend on its index."""
    parts = [np.random.default_rng([seed, k]).random(len(ids)) for k, ids in enumerate(sequences)]
    return np.concatenate(parts)


def label_gradient(
    source: WeightReader, head: str, hidden: Floats, drawn: NDArray[np.float64]
) -> tuple[Floats, Floats]:
    """Gradient with respect to hidden states [tokens, H], and its energies at the logits [tokens].

    Args:
        source: the weights.
        head: name of the weight [V, H] that makes logits of hidden states.
        hidden: after the last norm, float32 [tokens, H].
        drawn: `uniforms` of the tokens, which decide the labels.
    """
    pulled, energies = np.empty_like(hidden), np.empty(len(hidden), np.float32)
    step = max(1, LOGIT_BYTES // (4 * source.shape(head)[0]))
    for start in range(0, len(hidden), step):
        some = slice(start, start + step)
        logits = multiply(source, hidden[some], head)
        for row, number in zip(logits, drawn[some].tolist(), strict=True):
            _replace(row, number)
        energies[some] = energy(logits)
        pulled[some] = multiply_gradient(source, logits, head)
    return pulled, energies


def _replace(row: Floats, number: float) -> None:
    """Replace the logits of one token by the gradient of its loss."""
    row -= row.max()
    np.exp(row, out=row)
    sums = np.cumsum(row, dtype=np.float64)
    label = np.searchsorted(sums, number * sums[-1], side="right")
    row /= np.float32(sums[-1])
    row[min(int(label), len(row) - 1)] -= 1  # a product that is rounded up may be the last sum
