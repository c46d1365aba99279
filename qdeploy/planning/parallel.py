"""A model spread over the devices of one or several machines, as vLLM spreads it: how much memory
every rank takes, and how many tokens of cache are left.

    tensor     ranks that share every layer; they divide the attention heads
    pipeline   stages, each with layers that follow one another
    data       replicas of attention, each with requests of its own
    expert     whether the experts of a layer are spread whole over tensor * data ranks, or cut

On one rank, in bytes:

    room for the cache = memory * USED - reserved - weights - activations
    cache of a token   = 2 * layers of the stage * kv heads of the rank * head size * float bytes

The cache's tokens are the same on every stage, so the stage with least room decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from qdeploy.planning.device_memory import Model
from qdeploy.planning.shards import Shards, Ways, kv_heads_of_rank, padded

USED = 0.92
"""The part of a device's memory that vLLM uses: the default of `--gpu-memory-utilization`."""
RESERVED = 2 * 10**9
"""An allowance for what is not a tensor: the driver's context, NCCL's buffers, captured graphs."""
LARGE_MEMORY = 70 * 2**30
LARGE_PASS, SMALL_PASS = 8192, 2048
"""Most tokens of a pass on devices with more memory than that, and with less (vLLM's defaults)."""
SEQUENCES = 256
"""Most sequences at a time (vLLM's `--max-num-seqs`)."""
FLOAT32 = 4


@dataclass(frozen=True)
class Cluster:
    """Devices of one kind.

    Attributes:
        memory_bytes: of each.
        per_node: devices of a machine, which are linked.
        nodes: machines.
        name: of a device, for messages.
    """

    memory_bytes: int
    per_node: int
    nodes: int = 1
    name: str = "device"

    @property
    def devices(self) -> int:
        return self.per_node * self.nodes

    @property
    def pass_tokens(self) -> int:
        """Most tokens of a pass."""
        return LARGE_PASS if self.memory_bytes >= LARGE_MEMORY else SMALL_PASS

    @property
    def usable_bytes(self) -> int:
        """What weights, activations and cache may take of a device."""
        return max(0, int(self.memory_bytes * USED) - RESERVED)

    def __str__(self) -> str:
        here = f"{self.per_node} x {self.name}"
        return here if self.nodes == 1 else f"{self.nodes} nodes of {here}"


@dataclass(frozen=True)
class Sizes:
    """How many ways a model is spread (module docstring)."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def ranks(self) -> int:
        return self.tensor * self.pipeline * self.data

    @property
    def ways(self) -> Ways:
        return Ways(self.tensor, self.tensor * self.data, self.expert)

    def __str__(self) -> str:
        parts = [f"tensor {self.tensor}"]
        parts += [f"pipeline {self.pipeline}"] if self.pipeline > 1 else []
        parts += [f"data {self.data}"] if self.data > 1 else []
        parts += ["experts spread"] if self.expert else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Stage:
    """A pipeline stage; bytes are those of each of its ranks.

    Attributes:
        first, last: its layers, the last one included.
        cache_of_token: of the key-value cache.
        room: left for the cache; negative where weights and activations do not fit.
    """

    first: int
    last: int
    weights: int
    activations: int
    cache_of_token: int
    room: int

    @property
    def cache_tokens(self) -> int:
        return max(0, self.room) // self.cache_of_token


@dataclass(frozen=True)
class Layout:
    """A model on a cluster.

    Attributes:
        kv_heads: key-value heads that a rank holds.
        repeated: how many ranks hold the same one.
        context: tokens of the longest sequence.
    """

    sizes: Sizes
    cluster: Cluster
    stages: tuple[Stage, ...]
    kv_heads: int
    repeated: int
    context: int

    @property
    def cache_tokens(self) -> int:
        """Tokens that the cache of a replica holds."""
        return min(stage.cache_tokens for stage in self.stages)

    @property
    def concurrency(self) -> int:
        """Sequences of the longest context that run at once, on all replicas."""
        return self.cache_tokens // self.context * self.sizes.data

    @property
    def fits(self) -> bool:
        """Whether the cache holds a sequence of the longest context."""
        return self.concurrency > 0

    @property
    def fullest(self) -> Stage:
        """The stage with the least room."""
        return min(self.stages, key=lambda stage: stage.cache_tokens)

    def as_dict(self) -> dict[str, Any]:
        cluster = asdict(self.cluster) | {"usable_bytes": self.cluster.usable_bytes}
        return {
            "cluster": cluster,
            **asdict(self.sizes),
            "kv_heads": self.kv_heads,
            "kv_heads_repeated": self.repeated,
            "max_batched_tokens": self.cluster.pass_tokens,
            "context": self.context,
            "cache_tokens": self.cache_tokens,
            "concurrency": self.concurrency,
            "fits": self.fits,
            "stages": [asdict(stage) for stage in self.stages],
        }


@dataclass(frozen=True)
class Spreader:
    """Spreads a model; what it has found of the weights is kept for the next sizes.

    Attributes:
        model: in the format `safetensors`.
        context: tokens of the longest sequence.
    """

    model: Model
    context: int

    @cached_property
    def shards(self) -> Shards:
        return Shards(self.model)

    def layout(self, sizes: Sizes, cluster: Cluster) -> Layout:
        """The memory of *sizes* that `layouts.why_not` has no objection to, fitting or not."""
        config = self.model.config
        kv_heads = kv_heads_of_rank(config.kv_heads, sizes.tensor)
        stages = tuple(self._stages(sizes, cluster, kv_heads))
        repeated = max(1, sizes.tensor // config.kv_heads)
        return Layout(sizes, cluster, stages, kv_heads, repeated, self.context)

    def _stages(self, sizes: Sizes, cluster: Cluster, kv_heads: int) -> Iterator[Stage]:
        model, ways = self.model, sizes.ways
        config, layers = model.config, model.layers
        layer = self.shards.layer_bytes(ways)
        activations = pass_bytes(model, ways, cluster.pass_tokens, SEQUENCES)
        for start, end in stage_bounds(layers, sizes.pipeline):
            weights = sum(layer[start:end])
            weights += self.shards.ends_bytes(ways, first=start == 0, last=end == layers)
            of_token = 2 * (end - start) * kv_heads * config.head_dim * model.float_bytes
            room = cluster.usable_bytes - weights - activations
            yield Stage(start, end - 1, weights, activations, of_token, room)


def stage_bounds(layers: int, stages: int) -> list[tuple[int, int]]:
    """First layer of each stage and the one after its last.

    As vLLM's `get_pp_indices`: of the layers that are left over, the stage before the last gets the
    first, the one before that the next, and so on.
    """
    each, left = divmod(layers, stages)
    counts = [each] * stages
    for back in range(2, left + 2):
        counts[-back] += 1
    return list(pairwise((0, *accumulate(counts))))


def pass_bytes(model: Model, ways: Ways, tokens: int, sequences: int) -> int:
    """Most bytes of activations on a rank while *tokens* tokens go through: an upper estimate.

    Three of the hidden size. Beside them either attention: query, key and value, the former two
    rotated, and the result. Or a block: gate, up and their product, of experts for each that is
    chosen and with its output. Or the logits of *sequences* sequences, as activations and twice as
    float32 while tokens are drawn.
    """
    config, size = model.config, model.float_bytes
    heads = -(-config.heads // ways.tensor)
    kv_heads = kv_heads_of_rank(config.kv_heads, ways.tensor)
    attention = 3 * (heads + kv_heads) * config.head_dim
    has_dense = len(config.sparse_layers) < config.layers
    dense = 3 * -(-config.intermediate // ways.tensor) if has_dense else 0
    inner = config.moe_intermediate
    inner = inner if ways.spread else -(-inner // ways.experts)
    experts = config.top_k * (3 * inner + config.hidden) if config.experts else 0
    layer = tokens * max(attention, dense, experts) * size
    logits = min(sequences, tokens) * padded(config.vocab_size) * (size + 2 * FLOAT32)
    return 3 * tokens * config.hidden * size + max(layer, logits)
