"""What each linear weight would cost in each precision, predicted from one pass of the float model.

With E the error of a weight [N, K] rounded without data, H the second moments of its inputs over
the tokens t, weighted by w_t, and g the energy of the loss's gradient at its outputs (its sum of
squares, mean over the tokens):

    loss = 1/2 * g / N * tr(E H E')        H = sum of w_t x_t x_t' / sum of w_t

That is the Kullback-Leibler divergence, in nats a token, to second order, where gradients have no
preferred direction among the outputs and weights are rounded one at a time. Calibrated codes lose
less than these; what counts here is which weights lose more than others.

All tokens go through a layer together, so memory is that of one layer's activations and of one H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import Expert, GraphConfig, Linear
from qdeploy.calibration.arrays import Floats, run, spans
from qdeploy.calibration.layers.moments import second_moments
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.errors import CheckpointError
from qdeploy.forward.arithmetic import multiply, routing
from qdeploy.forward.forward import NumpyBuilder, Product, Value
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.rounding import DAMAGED

Losses = dict[tuple[str, Precision], float]
"""By the name of a weight and a precision."""
Progress = Callable[[int, int], None]
"""Called with the number of layers that are done, and of all."""

TOKENS = 8192
"""Most tokens that are looked at. Errors add up over so many inputs that more change little."""


def sensitivities(
    source: WeightReader,
    architecture: Architecture,
    config: GraphConfig,
    sequences: Sequence[Sequence[int]],
    candidates: Mapping[str, Sequence[Precision]],
    *,
    energy: Callable[[str], float],
    weights: Callable[[str], Floats | None],
    progress: Progress,
) -> Losses:
    """Predict the loss of every weight in each of its candidates.

    Args:
        source: the weights.
        architecture: of the model.
        config: the numbers of its graph.
        sequences: calibration text; they do not see each other.
        candidates: precisions by the name of a linear weight; others are not looked at.
        energy: of the gradient at all outputs of a weight's layer alone, mean over all tokens.
        weights: of the tokens, [T], for the inputs of a weight's layer; None where all count the
            same. Layers that read one input share them.
        progress: told of each layer.

    Returns:
        Of each weight and candidate, in nats a token, not negative. Zero where no token reaches
        the weight: an expert that none is routed to.

    Raises:
        CheckpointError: weights or activations are not finite.
    """
    kept = evenly(sequences, TOKENS)
    starts = np.cumsum([0, *map(len, sequences)])
    tokens = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in kept])

    def of_kept(weight: str) -> Floats | None:
        found = weights(weight)
        return None if found is None else found[tokens]

    losses: Losses = {}
    build = _Measuring(
        source, config, [sequences[k] for k in kept], progress, candidates, energy, of_kept, losses
    )
    build.value(architecture.hidden(build, config))
    progress(config.layers, config.layers)
    return losses


def evenly(sequences: Sequence[Sequence[int]], tokens: int) -> list[int]:
    """Numbers of sequences, spread over all of them, of about *tokens* together; at least one."""
    total = sum(map(len, sequences))
    if total <= tokens:
        return list(range(len(sequences)))
    count = max(1, len(sequences) * tokens // total)
    places = np.linspace(0, len(sequences) - 1, count).round()
    return [int(place) for place in places]


class _Measuring(NumpyBuilder):
    """The float model, which measures each linear weight when its inputs are known."""

    def __init__(
        self,
        source: WeightReader,
        config: GraphConfig,
        sequences: Sequence[Sequence[int]],
        progress: Progress,
        candidates: Mapping[str, Sequence[Precision]],
        energy: Callable[[str], float],
        weights: Callable[[str], Floats | None],
        losses: Losses,
    ) -> None:
        super().__init__(source, config, sequences, progress)
        self._candidates, self._energy, self._weights = candidates, energy, weights
        self._losses = losses

    def linear(self, x: Value, layer: Linear) -> Value:
        return self.linears(x, [layer])[0]

    def linears(self, x: Value, layers: Sequence[Linear]) -> list[Value]:
        inputs = self.value(x)
        names = [layer.weight for layer in layers]
        self._measure(inputs, names, self._weights(names[0]))
        return [Product(inputs, layer) for layer in layers]

    def experts(self, x: Value, router: str, experts: Sequence[Expert]) -> Value:
        """A token's output counts by its share of the expert, and so does an error of it."""
        tokens = self.value(x)
        shares = routing(multiply(self._source, tokens, router), self._config)
        out = np.zeros_like(tokens)
        for number, expert in enumerate(experts):
            rows = np.flatnonzero(shares[:, number])
            first, last = (self._weights(name) for name in (expert.gate, expert.down))
            own, share = tokens[rows], shares[rows, number]
            self._measure(own, [expert.gate, expert.up], None if first is None else first[rows])
            gate, up = (Product(own, Linear(name, 0)) for name in (expert.gate, expert.up))
            inner = self.value(self.swiglu(gate, up))
            squares = share * share
            self._measure(inner, [expert.down], squares if last is None else squares * last[rows])
            out[rows] += share[:, None] * multiply(self._source, inner, expert.down)
        return out

    def _measure(self, inputs: Floats, names: Sequence[str], weights: Floats | None) -> None:
        """Note the losses of weights that read *inputs* [T, K], with *weights* [T] of tokens."""
        measured = [name for name in names if name in self._candidates]
        if not measured:
            return
        second = second_moments(inputs, weights)
        if not np.isfinite(second).all():
            raise CheckpointError(
                "activations are infinite or not a number", where=measured[0], fix=DAMAGED
            )
        for name in measured:
            rows = self._source.shape(name)[0]
            factor = 0.5 * self._energy(name) / rows
            costs = self._costs(name, second)
            for precision, cost in zip(self._candidates[name], costs, strict=True):
                self._losses[name, precision] = factor * max(cost, 0.0)

    def _costs(self, name: str, second: Floats) -> list[float]:
        """tr(E H E') of each candidate, H *second*; a block of rows at a time on each thread."""
        candidates, blocks = self._candidates[name], list(spans(*self._source.shape(name)))
        sums = np.zeros((len(blocks), len(candidates)))

        def block(number: int) -> None:
            rows = blocks[number]
            weight = self._source.rows(name, rows.start, rows.stop)
            for place, precision in enumerate(candidates):
                error = weight - quantize(weight, precision, where=name).dequantize()
                sums[number, place] = np.vdot(error @ second, error)

        run(block, range(len(blocks)))
        return [float(cost) for cost in sums.sum(axis=0)]
