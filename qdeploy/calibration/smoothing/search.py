"""Chooses the factors of one site, and its static scale, by the predicted error of its outputs.

With s_j the factor of channel j, W the weights that read it and t a token of weight p_t:

    error of the inputs  = sum over t, j of p_t d_tj^2 |W_j|^2 / sum of p_t
    error of the weights = sum over rows i of D_i^2 / 12 * sum over j of E[x_j^2] / s_j^2

d is what rounding x / s changes, times s, measured; |W_j|^2 is the sum of squares of a column; and
D_i is the step of row i, the largest |W_ij| s_j divided by 127. Errors of different channels are
taken for independent. The candidates are those of SmoothQuant (arXiv:2211.10438, equation 4),

    s_j = max |x_j|^a / max |W_j|^(1 - a)        a: a strength between 0 and 1

rounded to powers of two, and no factors at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.arrays import run, spans
from qdeploy.calibration.rounding.linear import check_activations
from qdeploy.calibration.smoothing.factors import Exponents, factors
from qdeploy.calibration.smoothing.sites import Site
from qdeploy.quantization.inputs import HALF_RANGE, HIGHEST, SMALLEST, round_by_token, round_to

Floats = NDArray[np.float32]
Block = Callable[[], Floats]
"""Reads some rows of a weight, float32 [rows, K]."""

STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TOKENS = 4096
"""Tokens whose rounding is measured, spread evenly over all."""
MOST = 10
"""Largest exponent: factors beyond a thousand are no outliers but dead channels."""
DEAD = 1e-6
"""Channels of so small a part of the largest one's values are scaled as if they had so much."""
LEAST_FLOAT16, MOST_FLOAT16 = -14, 15
"""Exponents of float16's smallest and largest normal numbers."""
CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Static scales that are tried, in sizes of the one that clips no value."""


class Choice(NamedTuple):
    """What was chosen for a site.

    Attributes:
        exponents: of the factors, int8 [R].
        scale: of all tokens' smoothed inputs; None where each token has its own.
    """

    exponents: Exponents
    scale: np.float32 | None


def choose(
    site: Site,
    inputs: Floats,
    blocks: Sequence[Block],
    limits: tuple[Exponents, Exponents] | None,
    *,
    importance: Floats | None,
    static: bool,
) -> Choice:
    """Choose for one site.

    Args:
        site: whose makers have R rows, and whose readers have K channels.
        inputs: of the quantized model, not rounded, [T, K], T > 0.
        blocks: read all rows of the readers' weights, a part each.
        limits: smallest and largest exponents that the makers stand, [R] each; None where the
            channels cannot be scaled.
        importance: weights of tokens, [T]; None is 1.
        static: whether all tokens share a scale.

    Raises:
        CheckpointError: an input is infinite or not a number.
    """
    largest = _largest(inputs)
    check_activations(largest[None], site.name)
    columns = _Columns.of(blocks)
    kept = np.linspace(0, len(inputs) - 1, min(TOKENS, len(inputs))).astype(np.intp)
    weights = np.ones(len(kept), np.float32) if importance is None else importance[kept]
    sample = _Sample(inputs, kept, weights, columns.squares)
    none = np.zeros(len(largest) // site.shared, np.int8)
    candidates = [none]
    if limits:
        tops = site.largest(largest), site.largest(columns.largest)
        candidates += [np.clip(_exponents(*tops, a), *limits) for a in STRENGTHS]
    channels = [factors(site.to_channels(exponents)) for exponents in candidates]
    scales = [_whole_scale(largest, s) if static else None for s in channels]
    if len(candidates) > 1:
        steps = _squared_steps(blocks, channels)
        losses = [
            sample.error(s, scale) + step / 12 * sample.energy(s)
            for s, scale, step in zip(channels, scales, steps, strict=True)
        ]
        best = int(np.argmin(losses))
    else:
        best = 0
    scale = scales[best]
    if scale is not None:
        clipped = [_up_to_bfloat16(scale * np.float32(clip)) for clip in CLIPS]
        errors = [sample.error(channels[best], each) for each in clipped]
        scale = clipped[int(np.argmin(errors))]
    return Choice(candidates[best], scale)


def exponent_limits(values: Floats) -> tuple[Exponents, Exponents]:
    """The exponents by which nonzero values [R] can be divided and stay normal in float16."""
    with np.errstate(divide="ignore"):
        magnitude = np.floor(np.log2(np.abs(values)))
    low, high = magnitude + 1 - MOST_FLOAT16, magnitude - LEAST_FLOAT16
    low, high = (np.where(values == 0, other, x) for x, other in ((low, -MOST), (high, MOST)))
    low, high = np.clip(low, -MOST, 0), np.clip(high, 0, MOST)
    return low.astype(np.int8), high.astype(np.int8)


def _exponents(inputs: Floats, weights: Floats, strength: float) -> Exponents:
    """Of the largest magnitudes [R] of inputs and of weights that read them."""
    logs = [np.log2(np.maximum(x, max(DEAD * x.max(), SMALLEST))) for x in (inputs, weights)]
    found = strength * logs[0] - (1 - strength) * logs[1]
    found = np.where((inputs > 0) & (weights > 0), found - np.median(found), 0)
    return np.asarray(np.clip(np.rint(found), -MOST, MOST), np.int8)


def _largest(inputs: Floats) -> Floats:
    """The largest magnitude of each channel, [K]."""
    parts = list(spans(*inputs.shape))
    found = np.zeros((len(parts), inputs.shape[1]), np.float32)

    def look(number: int) -> None:
        found[number] = np.abs(inputs[parts[number]]).max(axis=0)

    run(look, range(len(parts)))
    return np.asarray(found.max(axis=0), np.float32)


def _whole_scale(largest: Floats, s: Floats) -> np.float32:
    """The scale that clips no value of inputs divided by *s*."""
    return np.float32(max((largest / s).max() / HALF_RANGE, SMALLEST))


def _up_to_bfloat16(value: np.float32) -> np.float32:
    """The next number of bfloat16's: some loaders hold scales in the model's type."""
    bits = np.array([value], np.float32).view(np.uint32)
    return np.float32(((bits + 0xFFFF) & 0xFFFF0000).view(np.float32)[0])


def _squared_steps(blocks: Sequence[Block], channels: Sequence[Floats]) -> list[float]:
    """The sum over all rows of D^2, for each candidate."""
    found = np.zeros((len(blocks), len(channels)))

    def look(number: int) -> None:
        weight = np.abs(blocks[number]())
        for place, s in enumerate(channels):
            steps = (weight * s).max(axis=1) / np.float32(HIGHEST)
            found[number, place] = np.square(steps).sum(dtype=np.float64)

    run(look, range(len(blocks)))
    return [float(total) for total in found.sum(axis=0)]


class _Columns(NamedTuple):
    """Largest magnitude, and sum of squares, of the columns of all weights, [K] each."""

    largest: Floats
    squares: Floats

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> _Columns:
        found: dict[int, tuple[Floats, Floats]] = {}

        def look(number: int) -> None:
            weight = blocks[number]()
            most = np.maximum(weight.max(axis=0), -weight.min(axis=0))
            found[number] = most, np.einsum("nk,nk->k", weight, weight)

        run(look, range(len(blocks)))
        largest, squares = zip(*(found[number] for number in range(len(blocks))), strict=True)
        return cls(np.max(largest, axis=0), np.sum(squares, axis=0, dtype=np.float32))


class _Sample:
    """Some tokens of the inputs."""

    def __init__(
        self, inputs: Floats, kept: NDArray[np.intp], weights: Floats, squares: Floats
    ) -> None:
        """*kept*: which tokens, with *weights* of their own; *squares*: |W_j|^2, [K]."""
        self._inputs, self._kept, self._weights, self._squares = inputs, kept, weights, squares
        self._parts = list(spans(len(kept), inputs.shape[1]))
        self._total = float(weights.sum(dtype=np.float64)) or 1.0
        self._second = self._mean(np.square)

    def error(self, s: Floats, scale: np.float32 | None) -> float:
        """The error of the inputs, rounded after they are divided by *s*."""

        def squared(x: Floats) -> Floats:
            x = x / s
            error = round_by_token(x) if scale is None else round_to(x, scale)
            error -= x
            error *= s
            return np.square(error, out=error)

        return float(self._mean(squared) @ self._squares)

    def energy(self, s: Floats) -> float:
        """The sum over channels of the inputs' second moments, divided by *s*."""
        return float((self._second / np.square(s)).sum(dtype=np.float64))

    def _mean(self, of: Callable[[Floats], Floats]) -> Floats:
        """The weighted mean over the tokens, [K]."""
        found = np.zeros((len(self._parts), self._inputs.shape[1]), np.float32)

        def look(number: int) -> None:
            tokens = self._parts[number]
            found[number] = self._weights[tokens] @ of(self._inputs[self._kept[tokens]])

        run(look, range(len(self._parts)))
        return np.asarray(found.sum(axis=0) / np.float32(self._total), np.float32)
