"""The memory that a model takes on devices which hold some of its layers each.

On one device, in bytes:

    needed    = weights + cache + tables + workspace
    weights   = of each, as kernels hold it: N * K * bits / 8 of codes, and for each group a scale
                and an offset in the type of activations; floats in that type
    cache     = 2 * layers on the device * kv heads * head size * context
    tables    = cosine and sine of every position for a head, and the number of every position
    workspace = the most that a pass of a part of a prompt holds at a time (`pass_memory`)

The embedding lies with the first layer, the last norm and the head with the last one. What the
runtime takes for itself is not counted, nor are a block of scores and a layer's keys in float32,
which attention on a CPU has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.config import RopeScaling
from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.tensors import layer_of
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.planning.formats import group_count
from qdeploy.planning.pass_memory import INT64, Held, pass_bytes
from qdeploy.planning.profile import FLOAT_BYTES
from qdeploy.planning.tensor_spec import FLOAT

if TYPE_CHECKING:
    from qdeploy.planning.plan import Plan

PREFILL_CHUNK = "prefill_chunk"
"""A profile's property: most tokens of a prompt that go through the model at a time."""
CHUNK = 512
"""The same, where no profile says it."""


@dataclass(frozen=True)
class DeviceMemory:
    """What some layers take on a device, in bytes.

    Attributes:
        first, last: the layers, the last one included.
    """

    first: int
    last: int
    weights: int
    cache: int
    tables: int
    workspace: int

    @property
    def needed(self) -> int:
        return self.weights + self.cache + self.tables + self.workspace

    def as_dict(self) -> dict[str, int]:
        return asdict(self) | {"needed": self.needed}


@dataclass(frozen=True)
class Model:
    """What decides how much memory a model takes.

    Attributes:
        weights: every weight that is held, by name; a head that is tied is not among them.
        longest: longest context, in tokens.
        float_bytes: bytes of an activation, of an element of a float weight and of the cache.
        chunk: most tokens of a pass.
    """

    name: str
    architecture: Architecture
    config: GraphConfig
    weights: Mapping[str, Held]
    longest: int
    float_bytes: int = 2
    chunk: int = CHUNK

    @property
    def layers(self) -> int:
        return self.config.layers

    @property
    def bits(self) -> int:
        """Bits of most linear weights."""
        sizes: Counter[int] = Counter()
        for held in self.weights.values():
            if held.role == "linear":
                sizes[held.precision.bits] += prod(held.shape)
        return sizes.most_common(1)[0][0]

    def memory(self, layers: range, context: int) -> DeviceMemory:
        """What *layers*, which follow one another, take for sequences of *context* tokens."""
        config, size = self.config, self.float_bytes
        first, last = layers[0], layers[-1]
        cache = 2 * len(layers) * config.kv_heads * config.head_dim * context * size
        tables = context * (2 * config.head_dim * size + INT64)
        workspace = max(self._pass(min(context, self.chunk))[first : last + 1])
        if 1 < self.chunk < context:  # the mask of a later part, and the same as floats
            workspace += self.chunk * context * (1 + size)
        return DeviceMemory(first, last, self._held(first, last), cache, tables, workspace)

    def _held(self, first: int, last: int) -> int:
        starts, ends = first == 0, last == self.layers - 1
        held = sum(self._layers[first : last + 1])
        held += self._embedding if starts else 0
        if ends:
            shared = starts and self._is_shared
            held += self._last_norm + (0 if shared else self._head)
        return held

    @cached_property
    def _layers(self) -> list[int]:
        """Bytes of every layer's weights."""
        found = [0] * self.layers
        for name, held in self.weights.items():
            layer = layer_of(name)
            if layer is not None:
                found[layer] += held_bytes(held, self.float_bytes)
        return found

    @cached_property
    def _embedding(self) -> int:
        """A table of floats, of which rows are looked up."""
        tables = [w.shape for w in self.weights.values() if w.role == "embedding"]
        return sum(map(prod, tables)) * self.float_bytes

    @property
    def _head_name(self) -> str:
        return self.architecture.head(self.config)

    @property
    def _is_shared(self) -> bool:
        """Whether the head multiplies by the very table that rows are looked up in."""
        return self.config.tied and self.weights[self._head_name].precision.dtype == "fp16"

    @cached_property
    def _head(self) -> int:
        return held_bytes(self.weights[self._head_name], self.float_bytes)

    @cached_property
    def _last_norm(self) -> int:
        others = {"embedding", "lm_head"}
        rest = [w for n, w in self.weights.items() if layer_of(n) is None and w.role not in others]
        return sum(held_bytes(held, self.float_bytes) for held in rest)

    def _pass(self, tokens: int) -> list[int]:
        """Bytes that a pass of *tokens* tokens holds in each layer."""
        if tokens not in self._passes:
            self._passes[tokens] = pass_bytes(
                self.architecture, self.config, self.weights, tokens, self.float_bytes
            )
        return self._passes[tokens]

    @cached_property
    def _passes(self) -> dict[int, list[int]]:
        """What `_pass` has found so far."""
        return {}


def held_bytes(held: Held, float_bytes: int) -> int:
    """Bytes of a weight as kernels hold it (formula: module docstring)."""
    numel = prod(held.shape)
    if held.precision.dtype == "fp16":
        return numel * float_bytes
    groups = group_count(held.shape, held.precision)
    return numel * held.precision.bits // 8 + 2 * groups * float_bytes


def of_plan(plan: Plan) -> Model:
    """The model that a plan's bundle holds.

    Raises:
        CheckpointError: its architecture is unknown.
    """
    held = {t.name: Held(t.shape, t.role, t.precision, t.expert) for t in plan.tensors}
    chunk = plan.profile.runtime.properties.get(PREFILL_CHUNK, CHUNK)
    return _model(
        plan.checkpoint,
        plan.rope_scaling,
        held,
        plan.context,
        FLOAT_BYTES[plan.profile.graph.activations],
        int(chunk),
    )


def of_bundle(
    checkpoint: Checkpoint,
    rope_scaling: RopeScaling | None,
    *,
    longest: int,
    float_bytes: int,
    chunk: int,
) -> Model:
    """The model in a bundle of the format `safetensors`, which is a checkpoint.

    Args:
        checkpoint: the bundle.
        rope_scaling: how positions are scaled, with the keys of `config.json`.
        longest: the context that it was exported for.
        float_bytes: bytes of an activation.
        chunk: most tokens of a pass.
    """
    described = checkpoint.described
    held = {
        w.name: Held(w.shape, described[w.name].role, w.source.precision or FLOAT)
        for w in checkpoint.weights
    }
    return _model(checkpoint, rope_scaling, held, longest, float_bytes, chunk)


def _model(
    checkpoint: Checkpoint,
    rope_scaling: RopeScaling | None,
    held: Mapping[str, Held],
    longest: int,
    float_bytes: int,
    chunk: int,
) -> Model:
    architecture, config = checkpoint.architecture, checkpoint.graph(rope_scaling)
    tied = config.tied and architecture.head(replace(config, tied=False)) not in held
    config = replace(config, tied=tied)
    return Model(checkpoint.name, architecture, config, held, longest, float_bytes, chunk)
