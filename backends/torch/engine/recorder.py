"""`Recorder`: the builder of `qdeploy.architectures` that records a program on torch devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear
from qdeploy.architectures.tensors import layer_of
from qdeploy.backends.torch.engine.cache import Cache
from qdeploy.backends.torch.engine.passes import Pass
from qdeploy.backends.torch.engine.program import Function, Program, Step
from qdeploy.backends.torch.kernels.base import ExpertLayers, Layer
from qdeploy.backends.torch.operations import Operations

if TYPE_CHECKING:
    Tensor = Any


class Weights(Protocol):
    """Where the recorder gets weights, on the device that it names."""

    def vector(self, name: str, device: str) -> Tensor:
        """A weight in the type of activations, as norms and biases are."""

    def table(self, name: str, device: str) -> Tensor:
        """A matrix whose rows are looked up, in the type of activations."""

    def linear(self, layers: Sequence[Linear], device: str) -> list[tuple[Layer, tuple[int, ...]]]:
        """Layers for *layers*, with the rows of each; those of equal forms are one product."""

    def head(self, layer: Linear, device: str) -> Layer:
        """A layer whose inputs are not rounded, whatever the profile says: lm_head and router."""

    def experts(self, experts: Sequence[Expert], device: str) -> ExpertLayers:
        """All experts of a layer."""


class Recorder(Builder[int]):
    """Records a program. A value is its number; L tokens are rows, [L, H].

    Args:
        devices: of each layer, as torch writes them. The embedding is on the first layer's, the
            last norm and the head on the last one's.
    """

    def __init__(
        self,
        config: GraphConfig,
        weights: Weights,
        operations: Operations,
        devices: Sequence[str],
        cache: Cache,
    ) -> None:
        self._config, self._weights, self._ops = config, weights, operations
        self._devices, self._cache = devices, cache
        self._steps: list[Step] = []
        self._place: list[str] = []
        self._moved: dict[tuple[int, str], int] = {}
        self._head: Layer | None = None

    def recorded(self) -> tuple[Program, Layer]:
        """The program that makes hidden states, and the head that makes logits of them."""
        if self._head is None:
            raise ValueError("the graph has no head")
        return Program(self._steps), self._head

    def embedding(self, weight: str) -> int:
        import torch.nn.functional as F  # noqa: N812

        device = self._devices[0]
        table = self._weights.table(weight, device)
        return self._add(lambda now: F.embedding(now.ids, table), (), device)

    def rms_norm(self, x: int, weight: str) -> int:
        device = self._device(weight)
        scale, epsilon, ops = self._weights.vector(weight, device), self._config.epsilon, self._ops
        return self._add(lambda _, v: ops.rms_norm(v, scale, epsilon), (x,), device)

    def qk_norm(self, x: int, weight: str, heads: int) -> int:
        device = self._device(weight)
        scale, epsilon, ops = self._weights.vector(weight, device), self._config.epsilon, self._ops

        def norm(_: Pass, v: Tensor) -> Tensor:
            return ops.rms_norm(v.unflatten(-1, (heads, -1)), scale, epsilon).flatten(-2)

        return self._add(norm, (x,), device)

    def linear(self, x: int, layer: Linear) -> int:
        return self.linears(x, [layer])[0]

    def linears(self, x: int, layers: Sequence[Linear]) -> list[int]:
        device = self._device(layers[0].weight)
        outputs: list[int] = []
        biases = iter(layers)
        for layer, rows in self._weights.linear(layers, device):
            bias = [next(biases).bias for _ in rows]
            held = [self._weights.vector(name, device) if name else None for name in bias]
            outputs += self._add_many(_product(layer, rows, held), (x,), device, len(rows))
        return outputs

    def attention(self, layer: int, query: int, key: int, value: int) -> int:
        device, cache, ops = self._devices[layer], self._cache, self._ops
        heads, kv_heads = self._config.heads, self._config.kv_heads

        def attend(now: Pass, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            here = now.on[device]
            q = ops.rotate(q.unflatten(-1, (heads, -1)), here.cos, here.sin)
            k = ops.rotate(k.unflatten(-1, (kv_heads, -1)), here.cos, here.sin)
            keys, values = cache.append(layer, now.start, k, v.unflatten(-1, (kv_heads, -1)))
            return ops.attend(q, keys, values, here.mask, causal=now.causal).flatten(-2)

        return self._add(attend, (query, key, value), device)

    def swiglu(self, gate: int, up: int) -> int:
        ops = self._ops
        return self._add(lambda _, g, u: ops.swiglu(g, u), (gate, up), self._place[gate])

    def experts(self, x: int, router: str, experts: Sequence[Expert]) -> int:
        device = self._device(router)
        route = self._weights.head(Linear(router, len(experts)), device)
        layers = self._weights.experts(experts, device)
        top_k, renormalize = self._config.top_k, self._config.renormalize

        def mixture(_: Pass, v: Tensor) -> Tensor:
            weights, chosen = route(v).float().softmax(-1).topk(top_k, -1)
            if renormalize:
                weights = weights / weights.sum(-1, keepdim=True)
            return layers(v, chosen, weights.to(v.dtype))

        return self._add(mixture, (x,), device)

    def add(self, x: int, y: int) -> int:
        return self._add(lambda _, a, b: a + b, (x, y), self._place[y])

    def logits(self, x: int, weight: str) -> None:
        """Keep the head apart: most passes need the logits of their last token only."""
        if self._steps[-1].outputs != (x,):
            raise ValueError("the head takes the last value of the graph")
        head = Linear(weight, self._config.vocab_size)
        self._head = self._weights.head(head, self._devices[-1])

    def _device(self, weight: str) -> str:
        """The device of a weight: its layer's, or the last one."""
        layer = layer_of(weight)
        return self._devices[-1 if layer is None else layer]

    def _add(self, function: Function, inputs: tuple[int, ...], device: str) -> int:
        return self._add_many(function, inputs, device, 1)[0]

    def _add_many(
        self, function: Function, inputs: tuple[int, ...], device: str, count: int
    ) -> list[int]:
        inputs = tuple(self._on(value, device) for value in inputs)
        outputs = list(range(len(self._place), len(self._place) + count))
        self._place += [device] * count
        self._steps.append(Step(function, inputs, tuple(outputs)))
        return outputs

    def _on(self, value: int, device: str) -> int:
        """The value on *device*: itself, or a copy that is made once."""
        if self._place[value] == device:
            return value
        if (value, device) not in self._moved:
            self._moved[value, device] = len(self._place)
            self._place.append(device)
            step = Step(_to(device), (value,), (len(self._place) - 1,))
            self._steps.append(step)
        return self._moved[value, device]


def _to(device: str) -> Function:
    return lambda _, v: v.to(device)


def _product(layer: Layer, rows: tuple[int, ...], biases: Sequence[Tensor | None]) -> Function:
    """The product with a layer, split into its parts, with the bias of each."""

    def product(_: Pass, v: Tensor) -> Any:
        made = layer(v)
        parts = made.split(rows, -1) if len(rows) > 1 else (made,)
        added = [p if b is None else p + b for p, b in zip(parts, biases, strict=True)]
        return added if len(rows) > 1 else added[0]

    return product
