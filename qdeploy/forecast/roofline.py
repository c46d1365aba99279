"""Roofline model: the upper bound of a device's speed, from the bytes read and operations done.

Reading takes at least bytes / bandwidth, and computing operations / rate; at best both overlap
(Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009):

    seconds = max(bytes / bandwidth, operations / rate)

Decode computes one token after n cached tokens. It reads every weight that the token uses and the
cache of n tokens:

    bytes      = linear * k / E of the experts + routers + norms + lm_head + n * cache of a token
    operations = 2 * parameters of the matrices that it uses
                 + 4 * layers * heads * head_dim * n

Prefill of p tokens reads each weight once, and lm_head for the last token only:

    bytes      = linear, with the experts that any token chose + the rest, as above + p * cache
    operations = 2 * p * parameters of the layers' matrices + 2 * lm_head
                 + 4 * layers * heads * head_dim * p * p / 2

The router chooses k of E experts for each token. If the choice were uniformly random, p tokens
would use E * (1 - (1 - k/E)**p) experts. Real routers prefer some experts, so this is an upper
bound. The row read from the embedding is negligible; a tied embedding counts as the lm_head.
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
    """Bytes to read, and operations to compute; a multiply-add counts as two operations."""

    nbytes: float
    operations: float


@dataclass(frozen=True)
class Roof:
    """Bandwidth and rate of operations of all devices of a group together.

    Attributes:
        operations_per_s: None where it is unknown. Then memory alone is the bound, which is
            right for decode of one request and wrong for prefill.
    """

    bytes_per_s: float
    operations_per_s: float | None

    def seconds(self, work: Work) -> tuple[float, Bound]:
        """Return the least time that the work takes, and the resource that limits it."""
        reading = work.nbytes / self.bytes_per_s
        computing = work.operations / self.operations_per_s if self.operations_per_s else 0.0
        return max(reading, computing), "memory" if reading >= computing else "compute"


def decode(plan: Plan, cached: int) -> Work:
    """Return the work of decoding one token after *cached* tokens."""
    share = _chosen_share(plan)
    nbytes = _bytes_read(plan, share) + cached * plan.kv_bytes_per_token
    matrices = sum(_operations(t, share) for t in plan.tensors)
    head = 2 * _head_parameters(plan)
    return Work(nbytes, matrices + head + _attention(plan) * cached)


def prefill(plan: Plan, tokens: int) -> Work:
    """Return the work of prefilling *tokens*, up to the logits of the last one."""
    share = _chosen_share(plan)
    nbytes = _bytes_read(plan, expected_share(share, tokens)) + tokens * plan.kv_bytes_per_token
    matrices = tokens * sum(_operations(t, share) for t in plan.tensors)
    head = 2 * _head_parameters(plan)
    return Work(nbytes, matrices + head + _attention(plan) * tokens * tokens / 2)


def expected_share(share: float, tokens: int) -> float:
    """Return the expected part of the experts that *tokens* use, each a random *share*."""
    return 1 - (1 - share) ** tokens


def activation_bytes(plan: Plan, tokens: int) -> int:
    """Return an upper bound of the activations of a pass over *tokens*, in float32.

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
    """Return the bytes of weights read, with *share* of the experts."""
    read = (t for t in plan.tensors if plan.is_tied or t.role != "embedding")
    return sum(t.nbytes * (share if t.expert else 1) for t in read)


def _operations(tensor: TensorPlan, share: float) -> float:
    """Return the operations of one token with a matrix of the layers."""
    if tensor.role not in ("linear", "router"):
        return 0
    return 2 * prod(tensor.shape) * (share if tensor.expert else 1)


def _head_parameters(plan: Plan) -> int:
    """Return the parameters of the vocabulary's head; a model that does not generate has none."""
    config = plan.checkpoint.config
    return config.vocab_size * config.hidden_size if plan.task.generates else 0


def _attention(plan: Plan) -> float:
    """Return the attention operations of a pair of tokens: query by key, and weight by value."""
    config = plan.checkpoint.config
    return 4.0 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
