"""The operations of a model's description, each with its reverse.

They mirror the methods of `Builder`: `forward` computes one with `NumpyBuilder`, `reverse` pulls a
gradient back through it and notes the energy of the gradient at the outputs of linear layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import Expert, GraphConfig, Linear
from qdeploy.calibration.importance.gradient import (
    attend_gradient,
    energy,
    multiply_gradient,
    rms_norm_gradient,
    rotate_gradient,
    routing_gradient,
    swiglu_gradient,
    total,
)
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import multiply, rotate, routing, silu
from qdeploy.forward.forward import NumpyBuilder, Value

Floats = NDArray[np.float32]


Note = Callable[[str, Floats, Mapping[str, float]], None]
"""Adds energies, float32 [tokens], to those of a key, and to each layer's the sum of its own."""


@dataclass(frozen=True)
class At:
    """What a reverse needs to know of the tokens that it is computed for.

    Attributes:
        lengths: of the sequences, whose tokens are rows, one sequence after the other.
        value: gives the result of an operation in the forward pass, float32 [tokens, width], by its
            number.
        note: see `Note`.
    """

    source: WeightReader
    config: GraphConfig
    lengths: Sequence[int]
    value: Callable[[int], Floats]
    note: Note


@dataclass(frozen=True)
class Operation(ABC):
    """One operation.

    Attributes:
        inputs: numbers of the operations whose results it takes.
    """

    inputs: tuple[int, ...]

    @abstractmethod
    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        """Compute the result."""

    @abstractmethod
    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        """Gradients of the inputs, given that of the result; all are [tokens, width].

        It changes no array that it is given.
        """


@dataclass(frozen=True)
class Embedding(Operation):
    weight: str

    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        return build.embedding(self.weight)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        return ()


@dataclass(frozen=True)
class Add(Operation):
    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        return build.add(*inputs)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        return gradient, gradient


@dataclass(frozen=True)
class Norm(Operation):
    """`rms_norm`, and `qk_norm` where *heads* is not 0."""

    weight: str
    heads: int = 0

    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        if self.heads:
            return build.qk_norm(inputs[0], self.weight, self.heads)
        return build.rms_norm(inputs[0], self.weight)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        x, weight = at.value(self.inputs[0]), at.source.rows(self.weight)
        heads = (len(x), self.heads or 1, -1)
        pulled = rms_norm_gradient(
            x.reshape(heads), weight, at.config.epsilon, gradient.reshape(heads)
        )
        return (pulled.reshape(x.shape),)


@dataclass(frozen=True)
class Product(Operation):
    """`linear`; its energies are added to those of *key*."""

    layer: Linear
    key: str

    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        return build.linear(inputs[0], self.layer)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        energies = energy(gradient)
        at.note(self.key, energies, {self.layer.weight: total(energies)})
        return (multiply_gradient(at.source, gradient, self.layer.weight),)


@dataclass(frozen=True)
class Attention(Operation):
    layer: int

    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        return build.attention(self.layer, *inputs)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        values = [at.value(number) for number in self.inputs]
        pulled = tuple(np.empty_like(x) for x in values)
        size, rope, start = at.config.head_dim, at.config.rope, 0
        for length in at.lengths:
            own = slice(start, start + length)
            query, key, value, given = (
                x[own].reshape(length, -1, size) for x in (*values, gradient)
            )
            of_query, of_key, of_value = attend_gradient(
                rotate(query, rope), rotate(key, rope), value, given
            )
            parts = rotate_gradient(of_query, rope), rotate_gradient(of_key, rope), of_value
            for out, part in zip(pulled, parts, strict=True):
                out[own] = part.reshape(length, -1)
            start += length
        return pulled


@dataclass(frozen=True)
class SwiGlu(Operation):
    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        return build.swiglu(*inputs)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        gate, up = (at.value(number) for number in self.inputs)
        return swiglu_gradient(gate, up, gradient)


@dataclass(frozen=True)
class Experts(Operation):
    """A block of experts. Energies of all gates and ups are added up, those of downs are the
    block's own.
    """

    router: str
    experts: tuple[Expert, ...]

    @property
    def inner_key(self) -> str:
        """The key of the gates' and ups' energies."""
        return self.router

    @property
    def outer_key(self) -> str:
        """The key of the energies at the block's output."""
        return self.experts[0].down

    def forward(self, build: NumpyBuilder, *inputs: Value) -> Value:
        return build.experts(inputs[0], self.router, self.experts)

    def reverse(self, at: At, gradient: Floats) -> tuple[Floats, ...]:
        tokens = at.value(self.inputs[0])
        logits = multiply(at.source, tokens, self.router)
        weights = routing(logits, at.config)
        of_weights, pulled = np.zeros_like(weights), np.zeros_like(tokens)
        energies, downs = energy(gradient), dict[str, float]()
        for number in np.flatnonzero(weights.any(axis=0)).tolist():
            rows = np.flatnonzero(weights[:, number])
            expert, x = self.experts[number], tokens[rows]
            gate, up = (multiply(at.source, x, name) for name in (expert.gate, expert.up))
            # the expert's output times its weight: what is pulled back to before that product is
            # needed for both of its factors
            inner = multiply_gradient(at.source, gradient[rows], expert.down)
            of_weights[rows, number] = np.einsum("ij,ij->i", inner, silu(gate) * up)
            inner *= weights[rows, number, None]
            downs[expert.down] = total(energies[rows] * weights[rows, number] ** 2)
            for name, part in zip(
                (expert.gate, expert.up), swiglu_gradient(gate, up, inner), strict=True
            ):
                noted = np.zeros(len(tokens), np.float32)
                noted[rows] = energy(part)
                at.note(self.inner_key, noted, {name: total(noted)})
                pulled[rows] += multiply_gradient(at.source, part, name)
        at.note(self.outer_key, energies, downs)
        of_logits = routing_gradient(logits, at.config, of_weights)
        return (pulled + multiply_gradient(at.source, of_logits, self.router),)
