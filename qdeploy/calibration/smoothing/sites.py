"""Which weights make the inputs of each linear layer, and which read them, of any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear


@dataclass(frozen=True)
class Site:
    """Inputs that one or several linear layers read.

    Attributes:
        readers: names of weights [N, K] whose columns are the channels.
        router: name of the weight that routes by the same inputs, if there is one.
        makers: names of the weights that the channels can be scaled by: the vector of a norm, or a
            linear layer's weight and its bias. Empty where nothing can.
        shared: how many channels one element or row of the makers makes; more than 1 where heads of
            queries share one of values.
        run: channels side by side with different makers: the size of a head.
    """

    readers: tuple[str, ...]
    router: str | None = None
    makers: tuple[str, ...] = ()
    shared: int = 1
    run: int = 1

    @property
    def name(self) -> str:
        """The first reader: each weight reads one site."""
        return self.readers[0]

    def to_channels(self, values: NDArray[np.int8]) -> NDArray[np.int8]:
        """Values of the makers' rows [R] for each channel, [R * shared]."""
        heads = values.reshape(-1, 1, self.run)
        return np.repeat(heads, self.shared, axis=1).reshape(-1)

    def largest(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The largest of the channels' values [K] that a row of the makers makes, [R]."""
        heads = values.reshape(-1, self.shared, self.run)
        return np.asarray(heads.max(axis=1).reshape(-1), np.float32)


def find_sites(architecture: Architecture, config: GraphConfig) -> tuple[Site, ...]:
    """The sites of all linear layers before the head, in the order of the graph."""
    build = _Tracer(config)
    architecture.hidden(build, config)
    return tuple(value.site() for value in build.read)


@dataclass(eq=False)
class _Value:
    """Activations of the graph.

    Attributes:
        makers, shared, run: see `Site`.
        of: the output of the linear layer that these are multiples of, channel by channel.
        layer: the linear layer that they are the output of.
        readers, router: names of the weights that read them.
        uses: how many operations use them otherwise.
    """

    makers: tuple[str, ...] = ()
    shared: int = 1
    run: int = 1
    of: _Value | None = None
    layer: Linear | None = None
    readers: list[str] = field(default_factory=list)
    router: str | None = None
    uses: int = 0

    def site(self) -> Site:
        """The site; nothing scales the channels where that would change something else."""
        of = self.of
        alone = self.uses == 0 and (of is None or (of.uses == 1 and not of.readers))
        if not (alone and self.makers):
            return Site(tuple(self.readers), self.router)
        return Site(tuple(self.readers), self.router, self.makers, self.shared, self.run)


class _Tracer(Builder[_Value]):
    """Follows values from what makes them to what reads them."""

    def __init__(self, config: GraphConfig) -> None:
        self._config = config
        self.read: list[_Value] = []

    def embedding(self, weight: str) -> _Value:
        return _Value()

    def rms_norm(self, x: _Value, weight: str) -> _Value:
        x.uses += 1
        return _Value((weight,))

    def qk_norm(self, x: _Value, weight: str, heads: int) -> _Value:
        """All heads share its vector, and they are rotated next."""
        x.uses += 1
        return _Value()

    def linear(self, x: _Value, layer: Linear) -> _Value:
        self._reads(x, [layer.weight])
        return _Value(layer=layer)

    def attention(self, layer: int, query: _Value, key: _Value, value: _Value) -> _Value:
        """Each channel of the result is a sum over tokens of one channel of the values."""
        query.uses += 1
        key.uses += 1
        made = _multiple(value)
        made.shared, made.run = self._config.heads // self._config.kv_heads, self._config.head_dim
        return made

    def swiglu(self, gate: _Value, up: _Value) -> _Value:
        """Each channel of the result is a multiple of one channel of *up*."""
        gate.uses += 1
        return _multiple(up)

    def experts(self, x: _Value, router: str, experts: Sequence[Expert]) -> _Value:
        self._reads(x, [name for expert in experts for name in (expert.gate, expert.up)])
        x.router = router
        for expert in experts:
            self._reads(_Value((expert.up,)), [expert.down])
        return _Value()

    def add(self, x: _Value, y: _Value) -> _Value:
        x.uses += 1
        y.uses += 1
        return _Value()

    def logits(self, x: _Value, weight: str) -> None:
        """The head is not traced: it reads floats."""

    def _reads(self, x: _Value, weights: Sequence[str]) -> None:
        if not x.readers:
            self.read.append(x)
        x.readers += weights


def _multiple(x: _Value) -> _Value:
    x.uses += 1
    if x.layer is None:
        return _Value()
    names = (x.layer.weight, x.layer.bias)
    return _Value(tuple(name for name in names if name), of=x)
