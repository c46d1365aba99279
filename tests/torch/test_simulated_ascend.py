"""Operators of Ascend beyond one call each: packing of any size, layouts, several tensors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.backends.torch.simulated.device import activate
from tests.support.simulated.ascend import CASES, CHIP
from tests.support.simulated.ascend_chips import GROUP, K, N, full, half
from tests.support.simulated.ascend_layers import cache
from tests.support.simulated.ascend_products import fours, packed
from tests.support.simulated.case import Case
from tests.support.simulated.numbers import codes, floats

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


def case_of(name: str, which: str = "") -> Case:
    wanted = f"npu::npu_{name} {which}".strip()
    return next(case for case in CASES if str(case) == wanted)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 5), words=st.integers(2, 4), transposed=st.booleans())
def test_int4_codes_come_back_from_any_packing(rows: int, words: int, transposed: bool) -> None:
    """A product with the unit matrix gives the weight, packed along either axis."""
    device, weight = activate(CHIP)[0], fours(rows, 8 * words)
    place = packed(weight).to(device)
    place, weight = (place.t(), weight.t()) if transposed else (place, weight)
    unit = torch.eye(len(weight), dtype=torch.float16, device=device)
    scale = torch.ones(1, dtype=torch.float16, device=device)
    made = torch.ops.npu.npu_weight_quant_batchmatmul(unit, place, scale)
    assert torch.equal(made.cpu().int(), weight)


def test_float_weights_of_bfloat16_have_a_float32_bias() -> None:
    case = case_of("weight_quant_batchmatmul", "by columns")
    arguments = {"x": floats(3, K), "antiquant_scale": floats(N) / 128}
    made, without = (
        case.call(CHIP, {**arguments, "bias": bias}).float() for bias in (full(N), None)
    )
    torch.testing.assert_close(made - without, full(N).expand(3, N), atol=0.1, rtol=0)
    with pytest.raises(RuntimeError, match="bias is float32"):
        case.call(CHIP, {**arguments, "bias": floats(N)})


def test_a_group_that_does_not_divide_k_has_a_smaller_last_one() -> None:
    case = case_of("weight_quant_batchmatmul", "by groups")
    columns = K + 8
    weight, scale = fours(columns, N), half(K // GROUP + 1, N)
    arguments = {"x": half(3, columns), "weight": packed(weight), "antiquant_scale": scale}
    made = case.call(CHIP, {**arguments, "antiquant_offset": None})
    wanted = half(3, columns).float() @ (
        weight * scale.float().repeat_interleave(GROUP, 0)[:columns]
    )
    torch.testing.assert_close(made, wanted.half(), atol=2e-2, rtol=2e-2)


def test_results_of_int8_are_rounded_to_the_range() -> None:
    made = case_of("quant_matmul", "of one scale").call(
        CHIP, {"output_dtype": None, "bias": None, "scale": full(1).abs(), "offset": full(N)}
    )
    assert made.dtype == torch.int8
    assert {int(made.min()), int(made.max())} == {-128, 127}


def test_a_row_of_zeros_is_rounded_to_zeros() -> None:
    x = half(2, K)
    x[1] = 0
    made, scales = case_of("dynamic_quant").call(CHIP, {"input": x})
    assert made[1].abs().max() == 0
    assert scales[1] == 0


@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH"])
def test_layouts_differ_by_their_order_only(layout: str) -> None:
    case, arguments = case_of("fused_infer_attention_score"), cache()
    wanted, _ = case.call(CHIP)
    tensors = {what: arguments[what] for what in ("query", "key", "value")}
    if layout != "BNSD":
        tensors = {what: t.transpose(1, 2).contiguous() for what, t in tensors.items()}
        wanted = wanted.transpose(1, 2)
    if layout == "BSH":
        tensors = {what: t.flatten(2) for what, t in tensors.items()}
        wanted = wanted.flatten(2)
    made, _ = case.call(CHIP, {**tensors, "input_layout": layout})
    assert torch.equal(made, wanted)


def test_a_batch_has_lengths_of_its_own() -> None:
    case = case_of("fused_infer_attention_score")
    two = {what: torch.cat([cache()[what]] * 2) for what in ("query", "key", "value")}
    lengths = {"actual_seq_lengths": [3, 2], "actual_seq_lengths_kv": [9, 4]}
    made, _ = case.call(CHIP, {**two, **lengths})
    assert torch.equal(made[:1], case.call(CHIP)[0])
    alone, _ = case.call(CHIP, {"actual_seq_lengths": [2], "actual_seq_lengths_kv": [4]})
    assert torch.equal(made[1:], alone)
    assert made[1, :, 2].abs().max() == 0


def test_a_query_that_sees_nothing_is_zeros_only_on_request() -> None:
    case, mask = case_of("fused_infer_attention_score"), torch.ones(3, 9, dtype=torch.bool)
    assert case.call(CHIP, {"atten_mask": mask})[0].isnan().all()
    assert case.call(CHIP, {"atten_mask": mask, "inner_precise": 2})[0].abs().max() == 0


def test_310p_rotates_heads_of_128_only() -> None:
    case = case_of("rotary_mul")
    small = {name: tensor[..., :64] for name, tensor in case.right().items()}
    case.call(CHIP, small)
    with pytest.raises(RuntimeError, match="310P rotates heads of 128 only, not of 64"):
        case.call("ascend-310p", small)


def test_310p_multiplies_groups_of_16_columns() -> None:
    case = case_of("grouped_matmul", "of floats")
    narrow = {"weight": [half(3, K, 40)]}
    case.call(CHIP, narrow)
    with pytest.raises(RuntimeError, match="N 40 is no multiple of 16"):
        case.call("ascend-310p", narrow)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gpus_have_none_of_them(case: Case) -> None:
    activate(CHIP)
    with pytest.raises(NotImplementedError, match=f"Could not run '{case.operator}'"):
        case.call("cuda")


def test_lists_of_tensors_lie_on_one_device() -> None:
    here, there = activate(CHIP)
    x, weight = codes(7, K), codes(3, K, N)
    with pytest.raises(RuntimeError, match="on the same device"):
        torch.ops.npu.npu_grouped_matmul([x.to(here)], [weight.to(there)], split_item=2)


def test_a_scale_beside_none_of_tokens_has_19_bits_in_float16() -> None:
    """`npu_trans_quant_param` cuts the others off."""
    case, scale = case_of("quant_matmul", "of one scale"), torch.full((N,), 1 + 1.5 * 2**-10)
    ones = {"x1": torch.ones(3, K).to(torch.int8), "x2": torch.ones(K, N).to(torch.int8)}
    alone = case.call(CHIP, {**ones, "scale": scale, "bias": None})
    assert alone.unique().tolist() == [K * (1 + 2**-10)]
    of_tokens = {"bias": None, "pertoken_scale": torch.ones(3)}
    assert case.call(CHIP, {**ones, "scale": scale, **of_tokens}).unique() > alone.max()
