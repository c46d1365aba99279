"""Operators of Ascend."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.backends.torch.simulated.device import activate
from tests.support.simulated.case import Arguments, Case
from tests.support.simulated.numbers import codes, floats

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

CHIP = "ascend-a2"
BOTH = (CHIP, "ascend-a3")
ALL = (*BOTH, "ascend-310p")
NOT_OLD = {"ascend-310p": "is documented for A2 and A3, not for 310P"}
K, N, GROUP = 128, 48, 32
HALF, FULL = 5, 6
"""Types by torch's numbers."""


def fours(*shape: int, dtype: str = "int32") -> Any:
    return codes(*shape, low=-8, high=7, dtype=dtype)


def packed(weight: Any) -> Any:
    """Packed by the operator for that, on the host."""
    return torch.ops.npu.npu_convert_weight_to_int4pack(weight.to(activate(CHIP)[0])).cpu()


def half(*shape: int) -> Any:
    return floats(*shape, dtype="float16")


def full(*shape: int) -> Any:
    return floats(*shape, dtype="float32")


def spread(tensor: Any, columns: int) -> Any:
    """Scales of groups [G, N] for each row of a weight [K, N]."""
    return tensor.float().repeat_interleave(columns // len(tensor), 0)


def by_groups(x: Any, antiquant_scale: Any, antiquant_offset: Any, **_: Any) -> Any:
    weight = (fours(K, N) + spread(antiquant_offset, K)) * spread(antiquant_scale, K)
    return (x.float() @ weight).to(x.dtype)


def by_columns(x: Any, weight: Any, antiquant_scale: Any, **_: Any) -> Any:
    return (x.float() @ (weight.float() * antiquant_scale.float())).to(x.dtype)


def rounded(input: Any) -> tuple[Any, Any]:
    scales = input.float().abs().amax(-1) / 127
    return (input.float() / scales[..., None]).round().to(torch.int8), scales


def product(x1: Any, x2: Any, scale: Any, pertoken_scale: Any, **_: Any) -> Any:
    exact = x1.long() @ x2.long()
    return (exact * scale.float() * pertoken_scale[:, None]).bfloat16()


ROWS = [3, 0, 4]
ENDS = [3, 3, 7]


def experts(x: Any, weight: Any) -> Any:
    """The product in float32 of rows with the weight of their group, float32 [G, K, N]."""
    return torch.cat([part.float() @ w for part, w in zip(x.split(ROWS), weight, strict=True)])


def grouped(**arguments: Any) -> Arguments:
    return {"split_item": 2, "group_type": 0, "group_list": torch.tensor(ENDS), **arguments}


def grouped_int8(x: Any, weight: Any, scale: Any, per_token_scale: Any, **_: Any) -> Any:
    each = scale[0].float().repeat_interleave(torch.tensor(ROWS), 0)
    return [(experts(x[0], weight[0].float()) * each * per_token_scale[0][:, None]).bfloat16()]


def grouped_fours(x: Any, antiquant_scale: Any, antiquant_offset: Any, **_: Any) -> Any:
    parts = zip(fours(3, K, N), antiquant_scale[0], antiquant_offset[0], strict=True)
    weight = torch.stack([(w + spread(o, K)) * spread(s, K) for w, s, o in parts])
    return [experts(x[0], weight).bfloat16()]


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


CASES = (
    Case(
        "npu::npu_convert_weight_to_int4pack",
        lambda: {"weight": fours(K, N)},
        lambda weight: packed(weight),
        (
            (lambda: {"weight": fours(K, N) + 1}, "codes -7 to 8 are not within"),
            (lambda: {"weight": fours(K, N, dtype="int8")}, "contiguous int32 matrix"),
            (lambda: {"weight": fours(N, K).t()}, "contiguous int32 matrix"),
            (lambda: {"weight": fours(2, K, N)}, "contiguous int32 matrix"),
            (lambda: {"weight": fours(K, 44)}, "44, is no multiple of 8"),
        ),
        BOTH,
        NOT_OLD,
    ),
    Case(
        "npu::npu_weight_quant_batchmatmul",
        lambda: {
            "x": half(3, K), "weight": packed(fours(K, N)), "antiquant_group_size": GROUP,
            "antiquant_scale": half(K // GROUP, N), "antiquant_offset": half(K // GROUP, N),
        },
        by_groups,
        (
            (lambda: {"x": full(3, K)}, "x is a matrix of float16 or bfloat16"),
            (lambda: {"x": half(1, 3, K)}, "x is a matrix"),
            (lambda: {"x": half(3, K + 8)}, r"does not go with a weight \[128, 48\]"),
            (lambda: {"x": floats(3, K)}, "antiquant_scale is bfloat16"),
            (lambda: {"weight": fours(K, N, dtype="int16")}, "weight is a matrix of int8 or int32"),
            (lambda: {"antiquant_scale": half(N, K // GROUP)}, r"\[4, 48\], got float16 \[48, 4\]"),
            (lambda: {"antiquant_scale": half(N)}, "antiquant_scale is float16"),
            (lambda: {"antiquant_offset": full(4, N)}, "antiquant_offset is float16"),
            (lambda: {"antiquant_group_size": 48}, "no multiple of 32"),
            (lambda: {"antiquant_group_size": 128}, "within 32 to K - 1"),
            (lambda: {"bias": full(N)}, "bias is float16"),
            (lambda: {"quant_scale": full(N)}, "results of x's type only"),
        ),
        BOTH,
        {"ascend-310p": "weight is a matrix of int8 on 310P"},
        "by groups",
    ),
    Case(
        "npu::npu_weight_quant_batchmatmul",
        lambda: {"x": half(3, K), "weight": codes(N, K).t(), "antiquant_scale": half(N) / 128},
        by_columns,
        (
            (lambda: {"weight": codes(N, K)}, "does not go with a weight"),
            (lambda: {"weight": codes(1, K).expand(65536, K).t()}, "within 1 to 65535"),
            (lambda: {"antiquant_scale": half(K)}, r"\[1\] or \[1, 1\] or \[48\] or \[1, 48\]"),
        ),
        ALL,
        name="by columns",
    ),
    Case(
        "npu::npu_dynamic_quant",
        lambda: {"input": half(2, 3, K)},
        rounded,
        (
            (lambda: {"input": full(3, K)}, "expected float16 or bfloat16"),
            (lambda: {"input": half(K)}, "at least 2 dimensions"),
            (lambda: {"quant_mode": "perchannel"}, "rounds rows to int8 only"),
        ),
        BOTH,
        NOT_OLD,
    ),
    Case(
        "npu::npu_quant_matmul",
        lambda: {
            "x1": codes(3, K), "x2": codes(N, K).t(), "scale": full(N) / 128,
            "pertoken_scale": full(3) / 128, "output_dtype": torch.bfloat16,
        },
        product,
        (
            (lambda: {"x1": half(3, K)}, "expected int8 matrices"),
            (lambda: {"x2": codes(N, K)}, "does not go with"),
            (lambda: {"x2": codes(1, K).expand(65536, K).t()}, "within 1 to 65535"),
            (lambda: {"scale": full(N - 1)}, "scale is of 1 or 48 elements"),
            (lambda: {"scale": full(1, N)}, "scale is of 1 or 48 elements"),
            (lambda: {"scale": half(N)}, "bfloat16 do not go with scale float16"),
            (lambda: {"pertoken_scale": half(3)}, "pertoken_scale float16 on A2"),
            (lambda: {"pertoken_scale": full(4)}, "pertoken_scale is of 3 elements"),
            (lambda: {"output_dtype": torch.int32}, "results of int32 do not go with"),
            (lambda: {"output_dtype": torch.float32}, "results of float32 do not go with"),
            (lambda: {"bias": half(N)}, "bias float16"),
        ),
        BOTH,
        {"ascend-310p": "results of bfloat16 do not go with"},
    ),
    Case(
        "npu::npu_quant_matmul",
        lambda: {"x1": codes(3, K), "x2": codes(K, N), "scale": full(N) / 128, "output_dtype": HALF,
                 "bias": codes(N, dtype="int32")},
        lambda x1, x2, scale, bias, **_: ((x1.long() @ x2.long() + bias) * scale).half(),
        ((lambda: {"bias": full(N)}, "bias float32"),),
        ALL,
        name="of one scale",
    ),
    Case(
        "npu::npu_grouped_matmul",
        lambda: grouped(
            x=[codes(7, K)], weight=[codes(3, K, N)], scale=[floats(3, N) / 128],
            per_token_scale=[full(7) / 128], output_dtype=torch.bfloat16,
        ),
        grouped_int8,
        (
            (lambda: {"scale": None}, "do not go together"),
            (lambda: {"scale": [full(3, N)]}, "do not make results of bfloat16"),
            (lambda: {"scale": [floats(3, K)]}, r"scale is \[G, N\]"),
            (lambda: {"per_token_scale": [full(6)]}, r"per_token_scale is \[M\]"),
            (lambda: {"weight": [codes(3, N, K)]}, "does not go with weights"),
            (lambda: {"weight": [codes(K, N)] * 3}, "one x .* by one weight"),
            (lambda: {"group_list": None}, "group_list is int64"),
            (lambda: {"group_list": torch.tensor(ENDS).int()}, "group_list is int64"),
            (lambda: {"group_list": torch.tensor([3, 7])}, r"group_list is int64 \[3\]"),
            (lambda: {"group_list": torch.tensor([3, 2, 7])}, "the groups end at"),
            (lambda: {"group_list": torch.tensor([3, 3, 6])}, "x has 7 rows"),
            (lambda: {"group_list": torch.tensor(ROWS)}, "the groups end at"),
            (lambda: {"group_list_type": 1}, "x has 7 rows"),
            (lambda: {"split_item": 0}, "split_item 0"),
            (lambda: {"act_type": 5}, "does not have act_type"),
        ),
        BOTH,
        {"ascend-310p": "do not go together on 310P"},
        "of int8",
    ),
    Case(
        "npu::npu_grouped_matmul",
        lambda: grouped(
            x=[floats(7, K)], weight=[packed(fours(3, K, N).view(-1, N)).view(3, K, -1)],
            antiquant_scale=[floats(3, 4, N)], antiquant_offset=[floats(3, 4, N)],
        ),
        grouped_fours,
        (
            (lambda: {"antiquant_offset": None}, "do not go together"),
            (lambda: {"antiquant_offset": [floats(3, 2, N)]}, "have one shape"),
            (lambda: {"antiquant_scale": [floats(3, 3, N)]}, "parts of K, N"),
            (lambda: {"antiquant_scale": [floats(3, N, 4)]}, "parts of K, N"),
            (lambda: {"antiquant_scale": [half(3, 4, N)]}, "do not go together"),
            (lambda: {"weight": [codes(3, K, N)]}, r"antiquant_scale is \[G, N\]"),
        ),
        BOTH,
        {"ascend-310p": "do not go together on 310P"},
        "of int4",
    ),
    Case(
        "npu::npu_grouped_matmul",
        lambda: grouped(
            x=[half(7, K)], weight=[half(3, N, K).mT], group_list=torch.tensor(ROWS),
            group_list_type=1,
        ),
        lambda x, weight, **_: [experts(x[0], weight[0].float()).half()],
        (
            (lambda: {"weight": [floats(3, K, N)]}, "do not go together"),
            (lambda: {"output_dtype": FULL}, "do not make results of float32"),
        ),
        ALL,
        name="of floats",
    ),
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
