"""What Ascend has between the products: norm, activation, rotation, attention."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.simulated.ascend_chips import ALL, BOTH, NOT_OLD, K, N, full, half
from tests.support.simulated.case import Arguments, Case
from tests.support.simulated.numbers import codes, floats

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


def attend(query: Any, key: Any, value: Any, scale: float, mask: Any = None, **_: Any) -> Any:
    made = torch.nn.functional.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), attn_mask=mask, scale=scale, enable_gqa=True
    )
    return made.to(query.dtype), torch.empty(0)


def cache(**changes: Any) -> Arguments:
    return {
        "query": half(1, 4, 3, 16), "key": half(1, 2, 9, 16), "value": half(1, 2, 9, 16) / 2,
        "num_heads": 4, "num_key_value_heads": 2, "input_layout": "BNSD", "scale": 0.25, **changes,
    }  # fmt: skip


def attend_one(query: Any, key: Any, value: Any, scale: float, **_: Any) -> Any:
    """One query to the first five of nine keys, heads next to each other."""
    query = query.view(1, 1, 4, 16).transpose(1, 2)
    key, value = (t.view(1, 9, 2, 16).transpose(1, 2)[:, :, :5] for t in (key, value))
    made, empty = attend(query, key, value, scale)
    return made.transpose(1, 2).reshape(1, 1, 64), empty


CAUSAL = 2048


def after(query: int, keys: int, first: int) -> Any:
    """True where a query may look, the first one up to key *first*."""
    return torch.ones(query, keys, dtype=torch.bool).tril(first)


def causal() -> Any:
    return torch.ones(CAUSAL, CAUSAL, dtype=torch.bool).triu(1)


LAYERS = (
    Case(
        "npu::npu_rms_norm",
        lambda: {"self": half(2, 3, K), "gamma": half(K), "epsilon": 1e-5},
        lambda self, gamma, epsilon: (
            torch.nn.functional.rms_norm(self.float(), (K,), gamma.float(), epsilon).half(),
            (self.float().square().mean(-1, keepdim=True) + epsilon).rsqrt(),
        ),
        (
            (lambda: {"gamma": full(K)}, "gamma is of x's type"),
            (lambda: {"gamma": half(N)}, "gamma is of x's type"),
            (lambda: {"self": half(K)}, "gamma is of x's type"),
            (lambda: {"self": codes(3, K)}, "expected float16, bfloat16 or float32"),
        ),
        ALL,
    ),
    Case(
        "npu::npu_swiglu",
        lambda: {"self": floats(3, 2 * K)},
        lambda self: (
            torch.nn.functional.silu(self[:, :K].float()) * self[:, K:].float()
        ).bfloat16(),
        (
            (lambda: {"self": floats(3, 7)}, "has no halves"),
            (lambda: {"self": codes(3, K)}, "expected float16"),
        ),
        BOTH,
        NOT_OLD,
    ),
    Case(
        "npu::npu_rotary_mul",
        lambda: {"self": full(1, 4, 3, 128), "r1": full(1, 1, 3, 128),
                 "r2": full(1, 1, 3, 128) / 2},
        lambda self, r1, r2: self * r1 + torch.cat((-self[..., 64:], self[..., :64]), -1) * r2,
        (
            (lambda: {"self": full(4, 3, 128)}, "expected four axes"),
            (lambda: {"r1": half(1, 1, 3, 128)}, "do not go with"),
            (lambda: {"r2": full(1, 1, 3, 64)}, "do not go with"),
            (lambda: {"self": full(1, 4, 5, 128)}, "do not go with"),
            (lambda: {"self": full(1, 4, 3, 896)}, "heads of 896"),
            (lambda: {"self": full(1, 1000, 3, 128)}, "batch and heads are below 1000"),
            (lambda: {"rotary_mode": "interleave"}, "rotates halves only"),
        ),
        ALL,
    ),
    Case(
        "npu::npu_fused_infer_attention_score",
        cache,
        attend,
        (
            (lambda: {"query": full(1, 4, 3, 16)}, "expected BNSD of float16 or bfloat16"),
            (lambda: {"key": floats(1, 2, 9, 16)}, "expected BNSD of float16 or bfloat16"),
            (lambda: {"key": half(1, 9, 2, 16).transpose(1, 2)}, "are contiguous"),
            (lambda: {"num_heads": 8}, "does not have 8 heads"),
            (lambda: {"num_key_value_heads": 0}, "does not have 4 heads"),
            (lambda: {"value": half(1, 2, 8, 16)}, "does not go with key"),
            (lambda: {"query": half(1, 4, 3, 24)}, "does not go with key"),
            (lambda: {"actual_seq_lengths_kv": [10]}, "not within 0 to 9"),
            (lambda: {"input_layout": "TND"}, "has no layout TND"),
            (lambda: {"sparse_mode": 3}, "sparse_mode 3 needs a mask"),
            (lambda: {"sparse_mode": 3, "atten_mask": after(3, 9, 0)}, "2048 by 2048"),
            (lambda: {"sparse_mode": 3, "atten_mask": ~causal()}, "true above the diagonal"),
            (lambda: {"atten_mask": half(3, 9)}, "of bool, int8 or uint8"),
            (lambda: {"atten_mask": after(3, 8, 0)}, "a mask is"),
            (lambda: {"softmax_lse_flag": True}, "does not have softmax_lse_flag"),
        ),
        BOTH,
        NOT_OLD,
    ),
    Case(
        "npu::npu_fused_infer_attention_score",
        lambda: cache(sparse_mode=3, atten_mask=causal(), actual_seq_lengths_kv=[7]),
        lambda query, key, value, scale, **_: attend(
            query, key[:, :, :7], value[:, :, :7], scale, after(3, 7, 4)
        ),
        (),
        BOTH,
        name="of the last tokens",
    ),
    Case(
        "npu::npu_fused_infer_attention_score",
        lambda: cache(
            query=half(1, 1, 64), key=half(1, 9, 32), value=half(1, 9, 32), input_layout="BSH",
            actual_seq_lengths_kv=[5],
        ),
        attend_one,
        (),
        BOTH,
        name="of one token",
    ),
    Case(
        "npu::npu_fused_infer_attention_score",
        lambda: cache(atten_mask=~after(3, 9, 2)[None]),
        lambda query, key, value, scale, **_: attend(query, key, value, scale, after(3, 9, 2)),
        (),
        BOTH,
        name="with a mask",
    ),
)  # fmt: skip
