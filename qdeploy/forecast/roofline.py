"""The roofline: the fastest that a device could be, from what it must read and compute.

A device needs at least bytes / bandwidth to read, and operations / rate to compute; at best both
overlap (Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009):

    seconds = max(bytes / bandwidth, operations / rate)

Decode makes one token after n others. It reads every weight that the token passes through and the
cache of n tokens:

    bytes      = linear * k / E of the experts + routers + norms + lm_head + n * cache of a token
    operations = 2 * parameters of the matrices it passes through
                 + 4 * layers * heads * head_dim * n

Prefill of p tokens reads each weight once, and lm_head for the last token only:

    bytes      = linear, with the experts that any token chose + the rest, as above + p * cache
    operations = 2 * p * parameters of the layers' matrices + 2 * lm_head
                 + 4 * layers * heads * head_dim * p * p / 2

k of E experts are chosen for each token. Were they drawn at random, p tokens would meet
E * (1 - (1 - k/E)**p) of them; real routers prefer some, so this is the most that is read.
A row of the embedding is nothing beside these; a tied embedding is the lm_head.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from qdeploy.planning.plan import Plan
from qdeploy.planning.tensor_spec import TensorPlan

Bound = Literal["memory", "compute"]


@dataclass(frozen=True)
class Work:
    """What has to be read and computed: bytes, and operations (a product and a sum are two)."""

    nbytes: float
    operations: float


@dataclass(frozen=True)
class Roof:
    """What all devices of a group together can do: bytes and operations a second.

    Attributes:
        operations_per_s: None where it is not known: then only memory bounds, which holds for
            decode of one request and not for prefill.
    """

    bytes_per_s: float
    operations_per_s: float | None

    def seconds(self, work: Work) -> tuple[float, Bound]:
        """At least so long, and what it waits for."""
        reading = work.nbytes / self.bytes_per_s
        computing = work.operations / self.operations_per_s if self.operations_per_s else 0.0
        return max(reading, computing), "memory" if reading >= computing else "compute"


def decode(plan: Plan, cached: int) -> Work:
    """The work for one token after *cached* others."""
    share = _chosen_share(plan)
    nbytes = _bytes_read(plan, share) + cached * plan.kv_bytes_per_token
    matrices = sum(_operations(t, share) for t in plan.tensors)
    head = 2 * _head_parameters(plan)
    return Work(nbytes, matrices + head + _attention(plan) * cached)


def prefill(plan: Plan, tokens: int) -> Work:
    """The work for a prompt of *tokens*, up to the logits of its last."""
    share = _chosen_share(plan)
    nbytes = _bytes_read(plan, expected_share(share, tokens)) + tokens * plan.kv_bytes_per_token
    matrices = tokens * sum(_operations(t, share) for t in plan.tensors)
    head = 2 * _head_parameters(plan)
    return Work(nbytes, matrices + head + _attention(plan) * tokens * tokens / 2)


def expected_share(share: float, tokens: int) -> float:
    """The part of the experts that so many tokens meet, if each draws its *share* at random."""
    return 1 - (1 - share) ** tokens


def activation_bytes(plan: Plan, tokens: int) -> int:
    """An upper estimate of activations while *tokens* pass at once, in float32.

    The residual and its norm, with the wider of attention's (query, key, value and result) and the
    MLP's (gate, up and product, of each chosen expert); and the logits of one token.
    """
    config = plan.checkpoint.config
    query = config.num_attention_heads * config.head_dim
    attention = 2 * query + 2 * config.num_key_value_heads * config.head_dim
    wide = config.intermediate_size or 0
    if config.is_moe:
        wide = (config.moe_intermediate_size or 0) * (config.num_experts_per_tok or 1)
    widest = 2 * config.hidden_size + max(attention, 3 * wide)
    return 4 * (tokens * widest + config.vocab_size)


def _chosen_share(plan: Plan) -> float:
    config = plan.checkpoint.config
    return (config.num_experts_per_tok or 1) / config.num_experts if config.num_experts else 1.0


def _bytes_read(plan: Plan, share: float) -> float:
    """Bytes of weights read where *share* of the experts is."""
    tied = plan.checkpoint.config.tie_word_embeddings
    read = (t for t in plan.tensors if tied or t.role != "embedding")
    return sum(t.nbytes * (share if ".experts." in t.name else 1) for t in read)


def _operations(tensor: TensorPlan, share: float) -> float:
    """Operations of one token with a matrix of the layers."""
    if tensor.role not in ("linear", "router"):
        return 0
    return 2 * prod(tensor.shape) * (share if ".experts." in tensor.name else 1)


def _head_parameters(plan: Plan) -> int:
    config = plan.checkpoint.config
    return config.vocab_size * config.hidden_size


def _attention(plan: Plan) -> float:
    """Operations of a token with one other: a product for its weight, and one for its value."""
    config = plan.checkpoint.config
    return 4.0 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
