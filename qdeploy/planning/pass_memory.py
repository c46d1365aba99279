"""How much memory the activations of a pass take, from an architecture's description.

A pass feeds L tokens through all layers. The steps are those of `qdeploy.architectures`, in the
order in which an engine without a graph compiler runs them: a value lives from the step that makes
it to the last one that reads it. Attention is a fused kernel, which holds no matrix of scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import NamedTuple

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear
from qdeploy.architectures.tensors import Role, layer_of
from qdeploy.quantization.precision import Precision

SCORED = 64
"""Tokens whose logits exist at a time while a text is scored."""
EXPERTS_AT_A_TIME = 256 * 1024**2
"""Most bytes of experts' weights that are dequantized at a time; one expert at least."""
FLOAT32, INT64 = 4, 8


class Held(NamedTuple):
    """A weight that a device holds."""

    shape: tuple[int, ...]
    role: Role
    precision: Precision
    expert: bool = False


class _Value(NamedTuple):
    """The part of a buffer that a step reads or makes: elements of a token."""

    buffer: int
    width: int


@dataclass(frozen=True)
class _Step:
    """One operation.

    Attributes:
        layer: whose device it runs on.
        inputs, output: numbers of buffers.
        passing: bytes that are allocated besides, and freed at its end.
    """

    layer: int
    inputs: frozenset[int]
    output: int
    passing: int


def pass_bytes(
    architecture: Architecture,
    config: GraphConfig,
    weights: Mapping[str, Held],
    tokens: int,
    float_bytes: int,
) -> list[int]:
    """Most bytes of activations that a pass of *tokens* tokens holds during each layer.

    The embedding counts to the first layer, the last norm and the logits to the last one.

    Args:
        architecture: describes the steps.
        config: the numbers that it describes them with.
        weights: by name.
        tokens: L.
        float_bytes: bytes of an activation.
    """
    steps = _Steps(config, weights, tokens, float_bytes)
    architecture.build(steps, config)
    return steps.peaks()


class _Steps(Builder[_Value]):
    """Notes the buffers of every step."""

    def __init__(
        self, config: GraphConfig, weights: Mapping[str, Held], tokens: int, float_bytes: int
    ) -> None:
        self._config, self._weights = config, weights
        self._tokens, self._float_bytes = tokens, float_bytes
        self._sizes: list[int] = []
        self._steps: list[_Step] = []
        self._layer = 0

    def peaks(self) -> list[int]:
        """Most bytes that are alive during each layer."""
        last_use = {b: i for i, step in enumerate(self._steps) for b in step.inputs}
        found = [0] * self._config.layers
        alive: set[int] = set()
        for i, step in enumerate(self._steps):
            alive.add(step.output)
            held = sum(self._sizes[b] for b in alive) + step.passing
            found[step.layer] = max(found[step.layer], held)
            alive = {b for b in alive if last_use.get(b, i) > i}
        return found

    def embedding(self, weight: str) -> _Value:
        return self._make((), self._config.hidden, passing=self._tokens * INT64)

    def rms_norm(self, x: _Value, weight: str) -> _Value:
        self._enter(weight)
        return self._make((x,), x.width)

    def qk_norm(self, x: _Value, weight: str, heads: int) -> _Value:
        """The kernel copies its input first where that is a part of a fused product."""
        self._enter(weight)
        return self._make((x,), x.width, passing=self._bytes(x.width))

    def linear(self, x: _Value, layer: Linear) -> _Value:
        return self.linears(x, [layer])[0]

    def linears(self, x: _Value, layers: Sequence[Linear]) -> list[_Value]:
        """Layers of equal precisions that follow one another are one product."""
        self._enter(layers[0].weight)
        found: list[_Value] = []
        for _, members in groupby(layers, lambda layer: self._weights[layer.weight].precision):
            fused = list(members)
            weights = sum(_dequantized(self._weights[layer.weight]) for layer in fused)
            product = self._make(
                (x,), sum(layer.rows for layer in fused), passing=weights * self._float_bytes
            )
            if any(layer.bias for layer in fused):
                found += [self._make((product,), layer.rows) for layer in fused]
            else:
                found += [product._replace(width=layer.rows) for layer in fused]
        return found

    def attention(self, layer: int, query: _Value, key: _Value, value: _Value) -> _Value:
        """Beside the inputs: three of the query's size while it is rotated; then the query and the
        key as rotated, and the kernel's result before its heads are put in order.
        """
        self._layer = layer
        rotated = 2 * query.width + key.width
        scales = self._tokens * self._config.heads * FLOAT32
        return self._make((query, key, value), query.width, passing=self._bytes(rotated) + scales)

    def swiglu(self, gate: _Value, up: _Value) -> _Value:
        return self._make((gate, up), gate.width, passing=self._bytes(gate.width))

    def experts(self, x: _Value, router: str, experts: Sequence[Expert]) -> _Value:
        """The rows of all chosen experts go through together, beside a slice of the weights."""
        self._enter(router)
        inner, chosen = self._config.moe_intermediate, self._config.top_k
        rows = self._bytes(chosen * (2 * x.width + 3 * inner))
        routes = self._tokens * (3 * len(experts) + 4 * chosen) * FLOAT32
        first = experts[0]
        weights = [self._weights[name] for name in (first.gate, first.up, first.down)]
        one = sum(map(_dequantized, weights)) * self._float_bytes
        slices = max(min(EXPERTS_AT_A_TIME, one * len(experts)), one)
        return self._make((x,), x.width, passing=rows + routes + slices)

    def add(self, x: _Value, y: _Value) -> _Value:
        return self._make((x, y), x.width)

    def logits(self, x: _Value, weight: str) -> None:
        """Of the last token, or of some at a time; as activations, and as float32."""
        self._layer = self._config.layers - 1
        rows = min(SCORED, self._tokens)
        made = rows * self._config.vocab_size * (self._float_bytes + FLOAT32)
        self._make((x,), 0, passing=made)

    def _enter(self, weight: str) -> None:
        """What follows runs where *weight* is: with its layer, or the last one."""
        layer = layer_of(weight)
        self._layer = self._config.layers - 1 if layer is None else layer

    def _make(self, inputs: Sequence[_Value], width: int, *, passing: int = 0) -> _Value:
        made = _Value(len(self._sizes), width)
        self._sizes.append(self._bytes(width))
        read = frozenset(value.buffer for value in inputs)
        self._steps.append(_Step(self._layer, read, made.buffer, passing))
        return made

    def _bytes(self, width: int) -> int:
        return self._tokens * width * self._float_bytes


def _dequantized(weight: Held) -> int:
    """Elements of a weight that are dequantized for a product with many tokens."""
    return 0 if weight.precision.dtype == "fp16" else prod(weight.shape)
