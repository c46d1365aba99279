"""The tensors that a model needs, listed by building its graph with a builder that notes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear

Role = Literal["embedding", "lm_head", "linear", "router", "norm", "bias", "score"]
"""What a tensor does. A profile sets a precision for each; norms, biases and scores stay float."""

ROUTER = re.compile(r"\.mlp\.gate\.weight$")
LAYER = re.compile(r"\.layers\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The number of the layer that a weight belongs to, by its name; None for none."""
    found = LAYER.search(name)
    return int(found[1]) if found else None


class Tensor(NamedTuple):
    """Shape and role of one tensor.

    Attributes:
        expert: whether it belongs to one of a layer's experts, of which a token uses a few.
    """

    shape: tuple[int, ...]
    role: Role
    expert: bool = False


def guess_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """What a tensor of an unknown architecture does, guessed from transformers' usual names."""
    if len(shape) < 2:
        return Tensor(shape, "bias" if name.endswith(".bias") else "norm")
    if "embed_tokens" in name:
        return Tensor(shape, "embedding")
    if name.startswith("lm_head"):
        return Tensor(shape, "lm_head")
    if ROUTER.search(name):
        return Tensor(shape, "router")
    return Tensor(shape, "linear", expert=".experts." in name)


class TensorLister(Builder[int]):
    """Notes every weight by its name; a value is the size of its last axis."""

    def __init__(self, config: GraphConfig) -> None:
        self.found: dict[str, Tensor] = {}
        self._config = config

    def embedding(self, weight: str) -> int:
        config = self._config
        return self._note(weight, (config.vocab_size, config.hidden), "embedding", config.hidden)

    def rms_norm(self, x: int, weight: str) -> int:
        return self._note(weight, (x,), "norm", x)

    def qk_norm(self, x: int, weight: str, heads: int) -> int:
        return self._note(weight, (x // heads,), "norm", x)

    def linear(self, x: int, layer: Linear) -> int:
        self._note(layer.weight, (layer.rows, x), "linear", layer.rows)
        if layer.bias:
            self._note(layer.bias, (layer.rows,), "bias", layer.rows)
        return layer.rows

    def attention(self, layer: int, query: int, key: int, value: int) -> int:
        return query

    def swiglu(self, gate: int, up: int) -> int:
        return gate

    def experts(self, x: int, router: str, experts: Sequence[Expert]) -> int:
        self._note(router, (len(experts), x), "router", x)
        inner, outer = (self._config.moe_intermediate, x), (x, self._config.moe_intermediate)
        for expert in experts:
            self._note(expert.gate, inner, "linear", x, expert=True)
            self._note(expert.up, inner, "linear", x, expert=True)
            self._note(expert.down, outer, "linear", x, expert=True)
        return x

    def add(self, x: int, y: int) -> int:
        return x

    def logits(self, x: int, weight: str) -> None:
        self._note(weight, (self._config.vocab_size, x), "lm_head", x)

    def embeddings(self, x: int, *, normalize: bool) -> None:
        """It takes no weight."""

    def scores(self, x: int, layer: Linear) -> None:
        self._note(layer.weight, (layer.rows, x), "score", layer.rows)

    def _note(
        self, name: str, shape: tuple[int, ...], role: Role, width: int, *, expert: bool = False
    ) -> int:
        """Keep the first role of a weight: a head tied to the embedding stays an embedding."""
        self.found.setdefault(name, Tensor(shape, role, expert))
        return width
