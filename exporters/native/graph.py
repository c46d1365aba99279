"""What a graph format must be able to express: the vocabulary of the model's description.

`qdeploy.exporters.native.qwen3` says the model in these words; each format implements them once.
The words are as coarse as the coarsest operator of any format (one for attention with its rotation
and its cache, one for a block of experts), because taking one apart is easy and fusing is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")
"""Whatever a format passes around for a tensor: the description never looks inside."""


@dataclass(frozen=True)
class Expert:
    """Names of one expert's three weights: [M, H], [M, H] and [H, M]."""

    gate: str
    up: str
    down: str


class Builder(ABC, Generic[V]):
    """One graph in the making.

    Weights are named as in the checkpoint; how each is stored is the plan's decision, which the
    builder looks up. Letters: B sequences, L tokens of each in this pass, H hidden size, D size of
    a head, E experts, K experts a token goes to.
    """

    @abstractmethod
    def embedding(self, weight: str) -> V:
        """Look the model's input tokens up in *weight* [vocabulary, H]; gives [B, L, H]."""

    @abstractmethod
    def rms_norm(self, x: V, weight: str) -> V:
        """Divide by the root mean square over the last axis, then multiply by *weight* [H]."""

    @abstractmethod
    def head_norm(self, x: V, weight: str, heads: int) -> V:
        """Norm each head of x [B, L, heads * D] by itself; *weight* [D] serves all of them."""

    @abstractmethod
    def linear(self, x: V, weight: str) -> V:
        """Multiply x [..., K] with *weight* [N, K] transposed; gives [..., N]."""

    def linears(self, x: V, weights: Sequence[str], sizes: Sequence[int]) -> list[V]:
        """Products of x with several weights; *sizes* are their numbers of rows.

        A format that multiplies faster with all of them together says this in its own way.
        """
        return [self.linear(x, weight) for weight in weights]

    @abstractmethod
    def attention(self, layer: int, query: V, key: V, value: V) -> V:
        """Rotate query and key, append key and value to the layer's cache, and attend causally.

        Takes [B, L, heads * D] and twice [B, L, kv heads * D], gives [B, L, heads * D].
        """

    @abstractmethod
    def gated(self, gate: V, up: V) -> V:
        """silu(gate) * up."""

    @abstractmethod
    def experts(self, x: V, router: str, experts: Sequence[Expert]) -> V:
        """Send each token of x [B, L, H] through its K best experts and add up what they say.

        *router* [E, H] gives the logits; their softmax weighs the experts, scaled to a sum of one
        over the K chosen where the config has it so.
        """

    @abstractmethod
    def add(self, x: V, y: V) -> V:
        """Sum of x and y, of equal shapes."""

    @abstractmethod
    def logits(self, x: V, weight: str) -> None:
        """Make x [B, L, H] times *weight* [vocabulary, H] transposed the model's output."""
