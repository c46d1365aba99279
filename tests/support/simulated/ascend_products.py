"""Products of Ascend: integer weights, int8 inputs, rows in groups."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.backends.torch.simulated.device import activate
from tests.support.simulated.ascend_chips import (
    ALL,
    BOTH,
    CHIP,
    FULL,
    GROUP,
    HALF,
    NOT_OLD,
    K,
    N,
    full,
    half,
)
from tests.support.simulated.case import Arguments, Case
from tests.support.simulated.numbers import codes, floats

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


def fours(*shape: int, dtype: str = "int32") -> Any:
    return codes(*shape, low=-8, high=7, dtype=dtype)


def packed(weight: Any) -> Any:
    """Packed by the operator for that, on the host."""
    return torch.ops.npu.npu_convert_weight_to_int4pack(weight.to(activate(CHIP)[0])).cpu()


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


def divided(self: Any, scales: Any, **_: Any) -> Any:
    return (self.float() / scales[:, None]).round().clamp(-128, 127).to(torch.int8)


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


PRODUCTS = (
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
        "npu::npu_quantize",
        lambda: {"self": half(3, K), "scales": full(1).abs() / 32, "zero_points": None,
                 "dtype": torch.qint8, "axis": -1},
        divided,
        (
            (lambda: {"scales": half(1)}, "do not go together on A2"),
            (lambda: {"self": codes(3, K)}, "do not go together on A2"),
            (lambda: {"scales": full(3)}, "of x's axis -1"),
            (lambda: {"scales": full(1, 1)}, "of x's axis -1"),
            (lambda: {"axis": 2}, "of x's axis 2"),
            (lambda: {"dtype": torch.quint8}, "rounds to int8 only"),
            (lambda: {"div_mode": False}, "divides by scales"),
        ),
        ALL,
        name="of one scale",
    ),
    Case(
        "npu::npu_quantize",
        lambda: {"self": floats(3, K), "scales": full(3).abs() / 32, "zero_points": None,
                 "dtype": torch.qint8, "axis": 0},
        divided,
        ((lambda: {"scales": full(K).abs()}, "of x's axis 0"),),
        BOTH,
        {"ascend-310p": "do not go together on 310P"},
        "by rows",
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
)  # fmt: skip
