"""`CalibratingBuilder`: runs the float model and the quantized one side by side, layer by layer.

It is given to an architecture's description like any other builder. Every value is a `Pair`: the
activations of all tokens in both models. A linear layer is calibrated when its inputs are known,
which those of the quantized model are only once all layers before it are calibrated.

    q, k, v and gate, up   share their inputs, so they share the moments
    o, down, experts       add to the residual stream, and make up for what it lacks

A step ends with each sum of the residual stream. Both streams are then on the disk, so that a run
that is killed goes on after the last finished step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear
from qdeploy.calibration.arrays import Arrays, Floats, Pair, run, spans
from qdeploy.calibration.importance.weighting import Weighting
from qdeploy.calibration.layers import mixture
from qdeploy.calibration.layers.moments import add_up
from qdeploy.calibration.layers.rounded_inputs import RoundedInputs
from qdeploy.calibration.layers.streams import Streams
from qdeploy.calibration.layers.weights import Weights
from qdeploy.errors import CheckpointError
from qdeploy.forward.arithmetic import attend, rms_norm, rotate, silu
from qdeploy.quantization.rounding import DAMAGED


@dataclass(frozen=True, eq=False)
class Product:
    """A linear layer of inputs that is not computed yet, and maybe not calibrated."""

    inputs: Pair
    layer: Linear


@dataclass(frozen=True, eq=False)
class Mixture:
    """A block of experts that is not computed yet."""

    inputs: Pair
    router: str
    experts: tuple[Expert, ...]


@dataclass(frozen=True)
class Skipped:
    """A value of a step that an earlier run finished."""


Value = Pair | Product | Mixture | Skipped


class CalibratingBuilder(Builder[Value]):
    """Calibrates every planned weight of a model, from the first step that is not finished."""

    def __init__(
        self,
        weights: Weights,
        config: GraphConfig,
        sequences: Sequence[Sequence[int]],
        *,
        arrays: Arrays,
        streams: Streams,
        weighting: Weighting,
        rounding: RoundedInputs,
        done: int,
        progress: Callable[[int], None],
    ) -> None:
        """*done*: steps that are finished; *progress* is called with that number as it grows."""
        self._weights, self._config = weights, config
        self._ids = np.array([token for ids in sequences for token in ids])
        ends = np.cumsum([len(ids) for ids in sequences]).tolist()
        self._sequences = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        self._arrays, self._streams, self._weighting = arrays, streams, weighting
        self._rounding = rounding
        self._done, self._step, self._progress = done, 0, progress

    def embedding(self, weight: str) -> Value:
        if self._done:
            return Skipped()
        x = self._arrays.empty(len(self._ids), self._config.hidden)
        for token in np.unique(self._ids).tolist():
            x[self._ids == token] = self._weights.source.rows(weight, token, token + 1)
        return Pair(x, x)

    def rms_norm(self, x: Value, weight: str) -> Value:
        if isinstance(x, Skipped):
            return x
        return self._normed(self._computed(x), weight, heads=1)

    def qk_norm(self, x: Value, weight: str, heads: int) -> Value:
        if isinstance(x, Skipped):
            return x
        return self._normed(self._computed(x), weight, heads)

    def linear(self, x: Value, layer: Linear) -> Value:
        if isinstance(x, Skipped):
            return x
        return Product(self._computed(x), layer)

    def linears(self, x: Value, layers: Sequence[Linear]) -> list[Value]:
        if isinstance(x, Skipped):
            return [x for _ in layers]
        inputs = self._computed(x)
        self._calibrate(inputs, [layer.weight for layer in layers])
        return [Product(inputs, layer) for layer in layers]

    def attention(self, layer: int, query: Value, key: Value, value: Value) -> Value:
        if isinstance(query, Skipped):
            return query
        values = [self._computed(x) for x in (query, key, value)]
        size, rope = self._config.head_dim, self._config.rope

        def sequence(tokens: slice) -> None:
            for which in ("exact", "rounded"):
                q, k, v = (getattr(x, which)[tokens].reshape(-1, x.exact.shape[1] // size, size)
                           for x in values)  # fmt: skip
                rotated = rotate(q, rope)
                attend(rotated, rotate(k, rope), v)
                # the attended values take the place of the queries, which are not needed again
                q[:] = rotated

        run(sequence, self._sequences)
        return values[0]

    def swiglu(self, gate: Value, up: Value) -> Value:
        if isinstance(gate, Skipped):
            return gate
        inner, other = self._computed(gate), self._computed(up)

        def part(tokens: slice) -> None:
            for x, y in zip(inner.both, other.both, strict=True):
                x[tokens] = silu(x[tokens]) * y[tokens]

        run(part, spans(*inner.exact.shape))
        return inner

    def experts(self, x: Value, router: str, experts: Sequence[Expert]) -> Value:
        if isinstance(x, Skipped):
            return x
        return Mixture(self._computed(x), router, tuple(experts))

    def add(self, x: Value, y: Value) -> Value:
        self._step += 1
        if self._step < self._done:
            return Skipped()
        if self._step == self._done:
            return self._streams.read(self._done)
        residual = self._computed(x)
        made = self._added(residual, y)
        total = self._new(residual.exact.shape[1])

        def part(tokens: slice) -> None:
            for out, a, b in zip(total.both, residual.both, made.both, strict=True):
                np.add(a[tokens], b[tokens], out=out[tokens])
                if not np.isfinite(out[tokens]).all():
                    raise CheckpointError(
                        "activations are infinite or not a number", where=self._last, fix=DAMAGED
                    )

        run(part, spans(*total.exact.shape))
        self._streams.write(self._step, total)
        self._weights.finish(self._step)
        self._streams.forget(self._step - 1)
        self._progress(self._step)
        return total

    def logits(self, x: Value, weight: str) -> None:
        """Calibrate the vocabulary head, where it is planned to be: the last step."""
        self._step += 1
        if not isinstance(x, Skipped) and self._weights.pending([weight]):
            self._calibrate(self._computed(x), [weight])
            self._weights.finish(self._step)
            self._progress(self._step)

    def _added(self, residual: Pair, y: Value) -> Pair:
        """Compute what is added to the residual stream, calibrated to make up for its lack."""
        if isinstance(y, Product):
            self._last = y.layer.weight
            self._calibrate(y.inputs, [y.layer.weight], residual)
            return self._computed(y)
        if isinstance(y, Mixture):
            self._last = y.router
            out = self._new(residual.exact.shape[1])
            mixture.calibrate(
                self._weights, self._config, y.inputs, y.router, y.experts, residual, out,
                self._weighting, self._rounding,
            )  # fmt: skip
            return out
        return self._computed(y)

    _last = ""
    """Name of a weight of the step, for errors."""

    def _calibrate(
        self, inputs: Pair, weights: Sequence[str], residual: Pair | None = None
    ) -> None:
        pending = self._weights.pending(weights)
        if not pending:
            return
        importance = self._weighting.of(weights[0])
        self._rounding.prepare(inputs, weights[0], importance)
        sums = add_up(inputs, importance)
        total = np.float32(sums.weight)

        def owed(residual: Pair, rows: slice) -> Floats:
            """What the residual stream lacks, times the inputs: E[r x'] of rows, [rows, K]."""
            lack = residual.exact[:, rows] - residual.rounded[:, rows]
            if importance is not None:
                lack *= importance[:, None]
            return np.asarray(lack.T @ inputs.rounded / total, np.float32)

        self._weights.calibrate(sums.mean(), pending, partial(owed, residual) if residual else None)

    def _computed(self, x: Value) -> Pair:
        if isinstance(x, Pair):
            return x
        if not isinstance(x, Product):
            raise TypeError(f"a {type(x).__name__.lower()} is only added to the residual stream")
        self._calibrate(x.inputs, [x.layer.weight])
        out = self._new(x.layer.rows)
        self._weights.multiply(x.inputs, x.layer.weight, out, x.layer.bias)
        return out

    def _normed(self, x: Pair, weight: str, heads: int) -> Pair:
        columns = x.exact.shape[1]
        out, scale = self._new(columns), self._weights.source.rows(weight)

        def part(tokens: slice) -> None:
            for a, b in zip(x.both, out.both, strict=True):
                normed = rms_norm(
                    a[tokens].reshape(-1, columns // heads), scale, self._config.epsilon
                )
                b[tokens] = normed.reshape(-1, columns)

        run(part, spans(len(self._ids), columns))
        return out

    def _new(self, columns: int) -> Pair:
        rows = len(self._ids)
        return Pair(self._arrays.empty(rows, columns), self._arrays.empty(rows, columns))
