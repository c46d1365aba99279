"""The Ascend accelerator on simulated chips: kernels, experts, and fused operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.backends.torch.accelerators.ascend import Ascend, AscendOperations
from qdeploy.backends.torch.kernels import selftest
from qdeploy.backends.torch.kernels.base import Form
from qdeploy.backends.torch.kernels.table import expert_kernel, linear_kernel
from qdeploy.backends.torch.operations import Operations
from qdeploy.backends.torch.simulated.device import activate
from qdeploy.errors import GenerationFailed
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

from tests.support import experts  # noqa: E402

CHIPS = {
    "ascend-a2": Ascend("simulated", "Ascend910B3"),
    "ascend-a3": Ascend("simulated", "Ascend910_9382"),
    "ascend-310p": Ascend("simulated", "Ascend310P3"),
}
INT4 = Precision(dtype="int4", symmetric=True, group_size=64)
INT4_POINTS = Precision(dtype="int4", group_size=64)
INT4_CHANNEL = Precision(dtype="int4")
INT8 = Precision(dtype="int8", symmetric=True)
INT8_POINTS = Precision(dtype="int8")
FLOAT = Precision(dtype="fp16")
WEIGHT_ONLY = "npu::npu_weight_quant_batchmatmul"
KINDS: list[tuple[Precision, Any, str]] = [
    (FLOAT, "none", "bfloat16"),
    (INT4, "none", "bfloat16"),
    (INT4_POINTS, "none", "float16"),
    (INT4_CHANNEL, "none", "bfloat16"),
    (INT8, "none", "float16"),
    (INT8_POINTS, "none", "bfloat16"),
    (INT8, "int8", "bfloat16"),
    (INT8, "int8", "float16"),
    (INT8, "int8-static", "bfloat16"),
    (INT8, "int8-static", "float16"),
]


@pytest.mark.parametrize("chip", ["ascend-a2", "ascend-a3"])
@pytest.mark.parametrize(("precision", "inputs", "dtype"), KINDS)
def test_every_kind_of_weight(chip: str, precision: Precision, inputs: Any, dtype: str) -> None:
    """Linear layers and experts agree with the dequantized product."""
    accelerator, device = CHIPS[chip], activate(chip)[1]
    form = Form(48, 256, precision, inputs, dtype)
    kernel = linear_kernel(accelerator.linear_kernels(), form, where=chip)
    selftest.check(kernel, form, str(device))
    packed = experts.pack(accelerator, form, lambda tensor: tensor.to(device))
    assert packed.name.startswith("npu::npu_grouped_matmul")
    for name in experts.ROUTINGS:
        for tokens in (1, 20):
            off = experts.largest_difference(packed, device, getattr(torch, dtype), tokens, name)
            assert off < 0.03, (name, tokens)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (Form(48, 256, Precision(dtype="int4", group_size=32)), "groups of 64 or 128"),
        (Form(48, 256, Precision(dtype="int8", group_size=64)), "one scale for each row"),
        (Form(50, 256, INT4), "multiples of 8 rows"),
        (Form(151936, 256, INT8), "at most 65535 rows"),
        (Form(48, 256, INT8, "none", "float32"), "bfloat16 or float16"),
        (Form(48, 256, INT8_POINTS, "int8"), "symmetric weights"),
        (Form(48, 256, INT4, "int8-static"), "inputs rounded to int8 by a scale of the layer's"),
    ],
    ids=str,
)
def test_weights_that_no_operator_takes(form: Form, reason: str) -> None:
    with pytest.raises(GenerationFailed, match=reason):
        linear_kernel(CHIPS["ascend-a2"].linear_kernels(), form, where="a weight")


def test_a_310p_rounds_inputs_by_a_scale_of_the_layers_only() -> None:
    """Its product has no scales of tokens, and experts have no product of int8."""
    chip, form = CHIPS["ascend-310p"], Form(48, 256, INT8, "int8-static", "float16")
    kernel = linear_kernel(chip.linear_kernels(), form, where="a weight")
    selftest.check(kernel, form, str(activate("ascend-310p")[0]))
    with pytest.raises(GenerationFailed, match="needs an Atlas A2 or A3"):
        expert_kernel(chip.expert_kernels(), form, form, where="experts")


def test_a_310p_has_int8_weights_with_float16_inputs_only() -> None:
    chip = CHIPS["ascend-310p"]
    assert chip.dtypes == ("float16",)
    assert type(chip.operations()) is Operations
    form = Form(48, 256, INT8, "none", "float16")
    kernel = linear_kernel(chip.linear_kernels(), form, where="a weight")
    selftest.check(kernel, form, str(activate("ascend-310p")[0]))
    for other in (Form(48, 256, INT4, "none", "float16"), Form(48, 256, INT8, "int8", "float16")):
        with pytest.raises(GenerationFailed, match=r"an Atlas A2 or A3, .* is Ascend310P3"):
            linear_kernel(chip.linear_kernels(), other, where="a weight")
    with pytest.raises(GenerationFailed, match="needs an Atlas A2 or A3"):
        expert_kernel(chip.expert_kernels(), form, form, where="experts")


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_int4_weight(data: st.DataObject) -> None:
    group = data.draw(st.sampled_from([64, 128]))
    symmetric = data.draw(st.booleans())
    rows, groups = 8 * data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    codes = draw.integers(0, 16, (rows, groups * group)).astype(np.uint8)
    points = draw.integers(0, 16, (rows, groups)).astype(np.uint8)
    scales = draw.normal(size=(rows, groups)).astype(np.float16)
    precision = Precision(dtype="int4", symmetric=symmetric, group_size=group)
    weight = Quantized(precision, codes, scales, points)
    if symmetric:
        weight = Quantized(precision, codes.view(np.int8) - np.int8(8), scales, None)
    form = Form(rows, groups * group, precision, "none", "float16")
    kernel = linear_kernel(CHIPS["ascend-a2"].linear_kernels(), form, where="a weight")
    assert kernel.name.startswith(WEIGHT_ONLY)
    device = activate("ascend-a2")[0]
    layer = kernel.pack(weight, form, lambda tensor: tensor.to(device))
    made = layer(torch.eye(form.columns, dtype=torch.float16).to(device)).cpu()
    assert torch.equal(made.float(), torch.from_numpy(weight.dequantize()).t().half().float())


def tokens(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).half()


def test_norm_and_rotation_are_those_of_torch() -> None:
    device = activate("ascend-a2")[0]
    x, weight, (cos, sin) = tokens(5, 4, 32), tokens(32), tokens(2, 5, 1, 32)
    ours, torchs = AscendOperations(), Operations()
    for name, arguments, plain in [
        ("rms_norm", (x, weight), (1e-6,)),
        ("rotate", (x, cos, sin), ()),
    ]:
        moved = [argument.to(device) for argument in arguments]
        made = getattr(ours, name)(*moved, *plain).cpu()
        wanted = getattr(torchs, name)(*(a.float() for a in arguments), *plain)
        assert made.shape == wanted.shape
        torch.testing.assert_close(made.float(), wanted, atol=4e-3, rtol=4e-3)


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, 7), (9, 1), (9, 7)])
def test_attention_is_that_of_torch(start: int, length: int) -> None:
    """A step, a prompt, and a later part of one, over a cache with room for more."""
    device, seen = activate("ascend-a2")[0], start + length
    query, buffers = tokens(length, 8, 32), tokens(2, 2, 40, 32)
    places = torch.arange(seen)
    mask = places.narrow(0, start, length)[:, None] >= places if start and length > 1 else None
    causal = start == 0 and length > 1
    keys, values = (b.float().narrow(1, 0, seen) for b in buffers)
    wanted = Operations().attend(query.float(), keys, values, mask, causal=causal)
    keys, values = (b.to(device).narrow(1, 0, seen) for b in buffers)
    moved = mask if mask is None else mask.to(device)
    made = AscendOperations().attend(query.to(device), keys, values, moved, causal=causal)
    torch.testing.assert_close(made.cpu().float(), wanted, atol=4e-3, rtol=4e-3)
