"""Kernels of CUDA and HIP devices on simulated ones: each agrees with the dequantized product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.backends.torch.accelerators.cuda import Cuda
from qdeploy.backends.torch.accelerators.dcu import Dcu
from qdeploy.backends.torch.accelerators.limited import Limited
from qdeploy.backends.torch.accelerators.rocm import Rocm
from qdeploy.backends.torch.kernels import selftest
from qdeploy.backends.torch.kernels.base import Form
from qdeploy.backends.torch.kernels.table import linear_kernel
from qdeploy.backends.torch.simulated.device import activate
from qdeploy.errors import GenerationFailed
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

INT4 = "aten::_weight_int4pack_mm"
INT8 = "aten::_weight_int8pack_mm"
INT8_INPUTS = "aten::_int_mm"
FP8_INPUTS = "aten::_scaled_mm"
DEQUANTIZED = "aten::linear after dequantization"
CHIPS: dict[str, Limited] = {
    "cuda-sm90": Cuda("simulated", "sm_90"),
    "cuda-sm89": Cuda("simulated", "sm_89"),
    "cuda-sm75": Cuda("simulated", "sm_75"),
    "rocm-gfx942": Rocm("simulated", "gfx942"),
    "rocm-gfx1100": Rocm("simulated", "gfx1100"),
    "dcu-gfx936": Dcu("simulated", "gfx936"),
}


def precision(text: str) -> Precision:
    """A precision in the words of tables: `int4 sym g128`."""
    dtype, *rest = text.split()
    if not rest:
        return Precision(dtype="fp16")
    if dtype == "fp8":  # blocks are of checkpoints only, and no profile can ask for them
        size = {"channel": -1, "blocks": 128}[rest[0]]
        return Precision(dtype="fp8").model_copy(update={"group_size": size})
    size = -1 if rest[1] == "channel" else int(rest[1][1:])
    return Precision.model_validate(
        {"dtype": dtype, "symmetric": rest[0] == "sym", "group_size": size}
    )


@pytest.mark.parametrize(
    ("chip", "weight", "inputs", "dtype", "kernel"),
    [
        ("cuda-sm90", "fp16", "none", "bfloat16", "aten::linear"),
        ("cuda-sm90", "int4 sym g128", "none", "bfloat16", INT4),
        ("cuda-sm90", "int4 asym g32", "none", "bfloat16", INT4),
        ("cuda-sm90", "int4 sym g128", "none", "float16", DEQUANTIZED),
        ("cuda-sm90", "int4 sym g16", "none", "bfloat16", DEQUANTIZED),
        ("cuda-sm75", "int4 sym g128", "none", "bfloat16", DEQUANTIZED),
        ("cuda-sm90", "int8 sym channel", "none", "bfloat16", INT8),
        ("cuda-sm90", "int8 sym channel", "none", "float16", INT8),
        ("cuda-sm90", "int8 asym channel", "none", "bfloat16", DEQUANTIZED),
        ("cuda-sm90", "int8 sym g128", "none", "bfloat16", DEQUANTIZED),
        ("cuda-sm90", "int8 sym channel", "int8", "bfloat16", INT8_INPUTS),
        ("cuda-sm90", "int8 sym channel", "int8-static", "float16", INT8_INPUTS),
        ("cuda-sm90", "fp8 channel", "fp8", "bfloat16", FP8_INPUTS),
        ("cuda-sm89", "fp8 channel", "fp8", "bfloat16", FP8_INPUTS),
        ("cuda-sm90", "fp8 blocks", "fp8", "bfloat16", DEQUANTIZED),
        ("cuda-sm90", "fp8 channel", "none", "bfloat16", DEQUANTIZED),
        ("rocm-gfx942", "int4 sym g64", "none", "bfloat16", INT4),
        ("rocm-gfx1100", "int4 sym g64", "none", "bfloat16", DEQUANTIZED),
        ("rocm-gfx942", "int8 sym channel", "int8", "bfloat16", INT8_INPUTS),
        ("dcu-gfx936", "int4 sym g128", "none", "bfloat16", DEQUANTIZED),
        ("dcu-gfx936", "int8 sym channel", "int8", "bfloat16", INT8_INPUTS),
        ("dcu-gfx936", "int8 sym channel", "int8-static", "bfloat16", INT8_INPUTS),
    ],
)
def test_the_kernel_of_a_form(chip: str, weight: str, inputs: Any, dtype: str, kernel: str) -> None:
    form = Form(48, 256, precision(weight), inputs, dtype)
    found = linear_kernel(CHIPS[chip].linear_kernels(), form, where=chip)
    assert found.name == kernel
    for device in activate(chip):
        selftest.check(found, form, str(device))


@pytest.mark.parametrize(
    ("chip", "weight", "inputs", "reason"),
    [
        ("cuda-sm75", "fp8 channel", "fp8", "needs compute capability 8.9, .* is sm_75"),
        ("rocm-gfx942", "fp8 channel", "fp8", "the 8-bit floats of gfx950.* is gfx942"),
        ("cuda-sm90", "int8 sym g128", "int8", "one scale for each row"),
        ("dcu-gfx936", "int4 sym g128", "int8", "float inputs"),
        ("cuda-sm90", "int8 sym g128", "int8-static", "one scale for each row"),
        ("cuda-sm90", "int4 sym g128", "int8-static", "a scale of the layer's"),
    ],
)
def test_a_form_that_no_kernel_takes(chip: str, weight: str, inputs: Any, reason: str) -> None:
    form = Form(48, 256, precision(weight), inputs)
    with pytest.raises(GenerationFailed, match=reason):
        linear_kernel(CHIPS[chip].linear_kernels(), form, where=chip)


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_int4_weight(data: st.DataObject) -> None:
    """Rows that no tile divides, groups of any number, negative scales, any codes."""
    group = data.draw(st.sampled_from([32, 64, 128, 256]))
    symmetric = data.draw(st.booleans())
    seed = data.draw(st.integers(0, 2**32))
    rows, groups = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 3))
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 16, (rows, groups * group)).astype(np.uint8)
    points = draw.integers(0, 16, (rows, groups)).astype(np.uint8)
    scales = draw.normal(size=(rows, groups)).astype(np.float16)
    form = Form(
        rows, groups * group, Precision(dtype="int4", symmetric=symmetric, group_size=group)
    )
    weight = Quantized(form.precision, codes, scales, points)
    if symmetric:
        weight = Quantized(form.precision, codes.view(np.int8) - np.int8(8), scales, None)
    kernel = linear_kernel(CHIPS["cuda-sm90"].linear_kernels(), form, where=INT4)
    assert kernel.name == INT4
    device = activate("cuda-sm90")[0]
    layer = kernel.pack(weight, form, lambda tensor: tensor.to(device))
    # one column each: the product is the weight itself, rounded to bfloat16
    made = layer(torch.eye(form.columns, dtype=torch.bfloat16).to(device)).cpu().float()
    wanted = torch.from_numpy(weight.dequantize()).t()
    most = torch.from_numpy(np.abs(scales)).float().amax(-1) * 30
    assert made.shape == wanted.shape
    assert bool(((made - wanted).abs() <= most * 2**-7).all())
    assert {tensor.device for tensor in layer.tensors} == {device}


def test_fake_cuda_tensors_go_through_every_kernel() -> None:
    """No value is read on the host, and results have the type and device of the inputs."""
    from tests.support.fake_cuda import fake_cuda

    for weight, inputs in [
        ("fp16", "none"),
        ("int4 asym g128", "none"),
        ("int8 sym channel", "none"),
        ("int8 sym channel", "int8"),
        ("int8 asym g32", "none"),
        ("fp8 channel", "fp8"),
        ("fp8 blocks", "fp8"),
    ]:
        form = Form(48, 256, precision(weight), inputs)  # type: ignore[arg-type]
        kernel = linear_kernel(Cuda("cuda", "sm_90").linear_kernels(), form, where=weight)
        made = selftest.random_weight(form, np.random.default_rng(0))
        with fake_cuda():
            layer = kernel.pack(made, form, lambda tensor: tensor.to("cuda:0"))
            for count in (1, 20, 300):
                x = torch.empty(count, 256, dtype=torch.bfloat16, device="cuda:0")
                y = layer(x)
                assert (y.shape, y.dtype, y.device) == ((count, 48), x.dtype, x.device)
