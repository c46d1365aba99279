"""Calibrates the experts of a layer: each on the tokens that are routed to it, and some others.

A token that an expert gets with the share s enters the residual stream with s, so it counts s^2. An
expert that few tokens reach is fitted to the others as well: those tokens count as `FEW` together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import Expert, GraphConfig
from qdeploy.calibration.arrays import Floats, Pair, run
from qdeploy.calibration.importance.weighting import Weighting
from qdeploy.calibration.layers.moments import Sums, add_up, mixed
from qdeploy.calibration.layers.rounded_inputs import RoundedInputs
from qdeploy.calibration.layers.weights import Weights
from qdeploy.calibration.rounding.linear import Moments
from qdeploy.forward.arithmetic import routing, silu

FEW = 32
"""Tokens that the layer's other tokens count as, in the moments of each expert."""
BESIDE = 2048
"""Of the layer's other tokens, those that an expert is run on for the inputs of its down
projection."""

Rows = NDArray[np.intp]


class Routed(NamedTuple):
    """Tokens that an expert gets, and the share of each."""

    tokens: Rows
    shares: Floats


def calibrate(
    weights: Weights,
    config: GraphConfig,
    inputs: Pair,
    router: str,
    experts: Sequence[Expert],
    residual: Pair,
    out: Pair,
    weighting: Weighting,
    rounding: RoundedInputs,
) -> None:
    """Find the codes of all experts, and write the outputs of both models' mixtures to *out*.

    Args:
        weights: of both models.
        config: of the graph.
        inputs: of the block, [T, H].
        router: name of the weight that routes.
        experts: names of the experts' weights.
        residual: stream that the mixture is added to, [T, H].
        out: of the block, [T, H].
        weighting: how much tokens count.
        rounding: of the experts' inputs; the router reads them before.
    """
    logits = Pair(*(np.empty((len(x), len(experts)), np.float32) for x in inputs.both))
    weights.multiply(inputs, router, logits)
    shares = Pair(*(routing(x, config) for x in logits.both))
    first, last = weighting.of(experts[0].gate), weighting.of(experts[0].down)
    rounding.prepare(inputs, experts[0].gate, first)
    everywhere = add_up(inputs, first).mean()
    beside = np.linspace(0, len(inputs.exact) - 1, min(BESIDE, len(inputs.exact))).astype(np.intp)
    for x in out.both:
        x[:] = 0
    for number, expert in enumerate(experts):
        exact, rounded = (_routed(x[:, number]) for x in shares.both)
        _calibrate_first(weights, expert, inputs, rounded, everywhere, first)
        inner = _inner(weights, expert, inputs, exact, rounded, beside)
        _round_inner(rounding, expert, inner)
        _calibrate_down(weights, expert, inner, rounded, residual, last, beside)
        _add_outputs(weights, expert, inner, exact, rounded, out)


class Inner(NamedTuple):
    """Inputs of an expert's down projection.

    Attributes:
        exact: of the float model, for the tokens that it routes to the expert.
        paired: of both models, for the tokens that the quantized one routes to it.
        beside: of both models, for some tokens of the layer.
    """

    exact: Floats
    paired: Pair
    beside: Pair


def _routed(shares: Floats) -> Routed:
    tokens = np.flatnonzero(shares)
    return Routed(tokens, shares[tokens])


def _token_weights(routed: Routed, importance: Floats | None) -> Floats:
    squares = routed.shares**2
    return squares if importance is None else squares * importance[routed.tokens]


def _counted(sums: Sums, tokens: int) -> Sums:
    """The same means, weighing as many as there are tokens."""
    factor = np.float32(tokens / sums.weight) if sums.weight else np.float32(0)
    np.multiply(sums.second, factor, out=sums.second)
    np.multiply(sums.cross, factor, out=sums.cross)
    return Sums(sums.second, sums.cross, float(tokens if sums.weight else 0))


def _calibrate_first(
    weights: Weights,
    expert: Expert,
    inputs: Pair,
    routed: Routed,
    everywhere: Moments,
    importance: Floats | None,
) -> None:
    """Calibrate gate and up."""
    own = add_up(inputs, _token_weights(routed, importance), routed.tokens)
    moments = mixed(_counted(own, len(routed.tokens)), everywhere, FEW)
    weights.calibrate(moments, [expert.gate, expert.up])


def _inner(
    weights: Weights,
    expert: Expert,
    inputs: Pair,
    exact: Routed,
    rounded: Routed,
    beside: Rows,
) -> Inner:
    def activated(x: Floats, *, calibrated: bool) -> Floats:
        read = weights.rounded if calibrated else weights.exact
        made = np.empty((len(x), weights.source.shape(expert.gate)[0]), np.float32)

        def block(rows: slice) -> None:
            gate, up = (x @ read(name, rows).T for name in (expert.gate, expert.up))
            made[:, rows] = silu(gate) * up

        run(block, weights.spans(expert.gate))
        return made

    def pair(tokens: Rows) -> Pair:
        return Pair(
            activated(inputs.exact[tokens], calibrated=False),
            activated(inputs.rounded[tokens], calibrated=True),
        )

    same = np.array_equal(exact.tokens, rounded.tokens)
    paired = pair(rounded.tokens)
    first = paired.exact if same else activated(inputs.exact[exact.tokens], calibrated=False)
    return Inner(first, paired, pair(beside))


def _round_inner(rounding: RoundedInputs, expert: Expert, inner: Inner) -> None:
    """Round the inputs of an expert's down projection, by its own tokens unless those are few."""
    own, others = inner.paired.rounded, inner.beside.rounded
    sample = own if len(own) >= FEW else np.concatenate([own, others])
    site = rounding.choose(expert.down, sample, None)
    if site is None:
        return
    for exact in {id(x): x for x in (inner.exact, inner.paired.exact, inner.beside.exact)}.values():
        rounding.smooth(site, exact)
    for x in (own, others):
        rounding.round(site, x)


def _calibrate_down(
    weights: Weights,
    expert: Expert,
    inner: Inner,
    routed: Routed,
    residual: Pair,
    importance: Floats | None,
    beside: Rows,
) -> None:
    """Calibrate down; each expert makes up for the lack of the residual stream by its share."""
    own_weights = _token_weights(routed, importance)
    total = float(own_weights.sum(dtype=np.float64))
    share = len(routed.tokens) / (len(routed.tokens) + FEW)

    def owed(rows: slice) -> Floats:
        tokens = routed.tokens
        lack = residual.exact[tokens, rows] - residual.rounded[tokens, rows]
        lack *= (own_weights * np.float32(share / total if total else 0))[:, None]
        return np.asarray(lack.T @ inner.paired.rounded, np.float32)

    others = add_up(inner.beside, None if importance is None else importance[beside]).mean()
    own = _counted(add_up(inner.paired, own_weights), len(routed.tokens))
    weights.calibrate(mixed(own, others, FEW), [expert.down], owed)


def _add_outputs(
    weights: Weights,
    expert: Expert,
    inner: Inner,
    exact: Routed,
    rounded: Routed,
    out: Pair,
) -> None:
    def block(rows: slice) -> None:
        made = inner.exact @ weights.exact(expert.down, rows).T
        out.exact[exact.tokens, rows] += exact.shares[:, None] * made
        made = inner.paired.rounded @ weights.rounded(expert.down, rows).T
        out.rounded[rounded.tokens, rows] += rounded.shares[:, None] * made

    run(block, weights.spans(expert.down))
