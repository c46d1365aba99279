"""`Builder`, the operations that graphs are described with, and `GraphConfig`, their numbers.

A family describes its model with these operations; each bundle format, the float reference and the
list of expected tensors implement them once. The operations are as coarse as the coarsest operator
of any format (attention with rotation and cache, a block of experts): splitting one up is easy,
fusing several is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from qdeploy.architectures.rope import Rope, make_rope
from qdeploy.architectures.task import GENERATE, Task

SHORTEST = 1e-12
"""The length that shorter vectors are divided by, as in `torch.nn.functional.normalize`."""
V = TypeVar("V")
"""A format's own type for a tensor. A description passes it around and never looks inside."""


@dataclass(frozen=True)
class GraphConfig:
    """The numbers and choices that a graph is built from, the same for every family.

    Attributes:
        epsilon: added to the mean square in RMS norms.
        theta: base of the rotary frequencies.
        rope_scaling: how positions are scaled, by the names of `config.json`, or None.
        positions: the longest context before any scaling.
        experts: 0 for a dense model.
        top_k: experts that a token is routed to.
        renormalize: whether the routing weights of a token's experts are scaled to a sum of one.
        sparse_layers: layers that have experts.
        task: what the graph's output is for.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    epsilon: float
    theta: float
    rope_scaling: Mapping[str, Any] | None
    positions: int
    experts: int = 0
    top_k: int = 0
    moe_intermediate: int = 0
    renormalize: bool = False
    sparse_layers: frozenset[int] = frozenset()
    task: Task = GENERATE

    @cached_property
    def rope(self) -> Rope:
        return make_rope(self.theta, self.head_dim, self.rope_scaling, self.positions)


@dataclass(frozen=True)
class Linear:
    """Names of a linear layer's weight [rows, K] and, where it has one, of its bias [rows]."""

    weight: str
    rows: int
    bias: str | None = None


@dataclass(frozen=True)
class Expert:
    """Names of one expert's three weights: [M, H], [M, H] and [H, M]."""

    gate: str
    up: str
    down: str


class Builder(ABC, Generic[V]):
    """Builds one graph.

    Weights have their names in the checkpoint; how each is stored is the plan's decision, which
    the builder looks up. Letters: B sequences, L tokens of each in this pass, H hidden size, D head
    size, M intermediate size of an expert, E experts, K experts that a token is routed to.
    """

    @abstractmethod
    def embedding(self, weight: str) -> V:
        """Look the input tokens up in *weight* [vocabulary, H]; gives [B, L, H]."""

    @abstractmethod
    def rms_norm(self, x: V, weight: str) -> V:
        """Divide by the root mean square over the last axis, then multiply by *weight* [H]."""

    @abstractmethod
    def qk_norm(self, x: V, weight: str, heads: int) -> V:
        """Apply an RMS norm to each head of x [B, L, heads * D]; all heads share *weight* [D]."""

    @abstractmethod
    def linear(self, x: V, layer: Linear) -> V:
        """Multiply x [..., K] by the transposed weight and add the bias; gives [..., rows]."""

    def linears(self, x: V, layers: Sequence[Linear]) -> list[V]:
        """Apply several linear layers to one x; a format may fuse them into one product."""
        return [self.linear(x, layer) for layer in layers]

    @abstractmethod
    def attention(self, layer: int, query: V, key: V, value: V) -> V:
        """Rotate query and key, append key and value to the layer's cache, and attend causally.

        Takes [B, L, heads * D] and twice [B, L, kv heads * D]; gives [B, L, heads * D].
        """

    @abstractmethod
    def swiglu(self, gate: V, up: V) -> V:
        """silu(gate) * up."""

    @abstractmethod
    def experts(self, x: V, router: str, experts: Sequence[Expert]) -> V:
        """Route each token of x [B, L, H] to its K best experts and add up their weighted outputs.

        *router* [E, H] gives the logits; their softmax gives the routing weights, which are scaled
        to a sum of one over the K experts where the config asks for it.
        """

    @abstractmethod
    def add(self, x: V, y: V) -> V:
        """Sum of x and y, of equal shapes."""

    @abstractmethod
    def logits(self, x: V, weight: str) -> None:
        """Make x [B, L, H] times the transposed *weight* [vocabulary, H] the model's output."""

    # Formats that hold generating models only leave these two out: `Format.encoder` says which.

    def embeddings(self, x: V, *, normalize: bool) -> None:
        """Make each sequence's last token of x [B, L, H] the output `embeddings`, float32 [B, H].

        With *normalize* it is divided by its Euclidean length, as `torch.nn.functional.normalize`.
        """
        raise NotImplementedError

    def scores(self, x: V, layer: Linear) -> None:
        """Make *layer* of each sequence's last token the output `scores`, float32 [B, rows]."""
        raise NotImplementedError
