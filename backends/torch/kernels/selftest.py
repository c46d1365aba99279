"""The numerical self-test: each kernel multiplies a small random weight before it is trusted.

A driver, a build of torch or a processor may be wrong where the call is right. The product is
compared with float32's of the dequantized weight on the host. What a kernel may be off by follows
from the roundings that it makes, each an independent error: of weights and inputs to the type of
activations, of results, and of inputs that the profile rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.errors import translated
from qdeploy.backends.torch.kernels.base import STATIC, ExpertKernel, Form, Kernel
from qdeploy.backends.torch.kernels.host import MIDDLE
from qdeploy.backends.torch.kernels.rounding import HALF_RANGE
from qdeploy.errors import GenerationFailed
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    import numpy as np

    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

ROWS, COLUMNS = 48, 256
"""Of the weight; more columns if a group has more."""
TOKENS = (1, 20, 160)
"""Rows of the inputs: kernels have other ways for few and for many."""
EXPERTS, CHOSEN = 6, 2
ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-20}
"""Largest relative error of rounding to a type; float32's covers the order of its sums."""
SMALLEST = {"bfloat16": 2.0**-133, "float16": 2.0**-24, "float32": 2.0**-149}
"""The smallest number of a type above zero; a device may as well round it to zero."""
ROUNDINGS = 2.0
"""Root of the sum of squares of the errors of scale, offset, and their product and sum."""
SIGMAS = 6.0
INPUTS = {"none": (0.0, 0.0), "int8": (0.0, 1 / 255), "fp8": (2.0**-4, 2.0**-18)}
"""Largest error of a rounded input, of its own magnitude and of the largest one of its row."""
INPUT_SCALES = (0.75 * 2**-5, 1.5 * 2**-5)
"""Within these are the static scales of inputs: codes reach 3 to 6, and few normal inputs do."""
NOT_A_NUMBER = 127
"""The byte of E4M3 without its sign."""
FIX = (
    "export with a profile of another precision (qdeploy profiles), or install another version of "
    "torch or of the driver"
)


@dataclass(frozen=True)
class Sample:
    """Values with the standard error that they may have, float32 each."""

    value: Tensor
    error: Tensor


def check(kernel: Kernel, form: Form, device: str) -> None:
    """Multiply a small weight of the kind of *form* on a device.

    Raises:
        GenerationFailed: the kernel does not run there, or its results are wrong.
    """
    import numpy as np
    import torch

    small = _small(form, ROWS)
    weight = random_weight(small, np.random.default_rng(0))
    with _told(kernel.name, device):
        layer = kernel.pack(weight, small, lambda tensor: tensor.to(device))
    for count in TOKENS:
        x = _inputs(count, small)
        wanted = multiplied(Sample(x.float(), torch.zeros(x.shape)), weight, small)
        with _told(kernel.name, device):
            made = layer(x.to(device)).cpu()
        _compare(kernel.name, made, wanted, small, device)


def check_experts(kernel: ExpertKernel, outer: Form, inner: Form, device: str) -> None:
    """The same for experts, each of which gets some tokens. Raises like `check`."""
    import numpy as np
    import torch

    draw = np.random.default_rng(0)
    width = max(_small(outer, 0).columns, _small(inner, 0).columns)
    outer = replace(outer, rows=2 * width, columns=width)
    inner = replace(inner, rows=width, columns=width)
    stacks = [[random_weight(form, draw) for _ in range(EXPERTS)] for form in (outer, inner)]
    gate_up, down = ([_given(weight) for weight in stack] for stack in stacks)
    with _told(kernel.name, device):
        layers = kernel.pack(gate_up, down, outer, inner, lambda tensor: tensor.to(device))
    for count in TOKENS:
        x = _inputs(count, outer)
        chosen = torch.from_numpy(draw.integers(0, EXPERTS, (count, CHOSEN)))
        weights = torch.from_numpy(draw.uniform(0, 1, chosen.shape)).to(x.dtype)
        wanted = _mixed(x, chosen, weights, stacks, outer, inner)
        with _told(kernel.name, device):
            made = layers(*(t.to(device) for t in (x, chosen, weights))).cpu()
        _compare(kernel.name, made, wanted, outer, device)


def random_weight(form: Form, draw: np.random.Generator) -> Matrix:
    """A random weight of a form, whose products with normal inputs are of the order of 1."""
    import numpy as np

    rows, columns, precision = form.rows, form.columns, form.precision
    if precision.dtype == "fp16":
        return draw.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
    levels, groups = 1 << precision.bits, columns // form.group
    scales = draw.uniform(0.5, 1.5, (rows, groups)) * 4 / levels / columns**0.5
    codes = draw.integers(0, levels, (rows, columns))
    if precision.dtype == "fp8":
        codes = np.where(codes & 127 == NOT_A_NUMBER, 0, codes).astype(np.uint8)
        return Quantized(precision, codes, scales.astype(np.float16), None)
    if precision.symmetric:
        signed = (codes - levels // 2).astype(np.int8)
        static = None
        if form.activations == STATIC:
            static = float(np.float32(draw.uniform(*INPUT_SCALES)))
        return Quantized(precision, signed, scales.astype(np.float16), None, static)
    points = draw.integers(0, levels, (rows, groups)).astype(np.uint8)
    return Quantized(precision, codes.astype(np.uint8), scales.astype(np.float16), points)


def multiplied(x: Sample, weight: Matrix, form: Form) -> Sample:
    """The product of x [M, K] with a weight as float32 computes it, and a kernel's error."""
    import torch

    roundoff = ROUNDOFF[form.dtype]
    values, magnitudes = _dequantized(weight)
    rounded = _rounded_by(x.value, weight, form)
    error = x.error**2 + (ROUNDINGS * roundoff * x.value) ** 2 + rounded**2
    made = x.value @ values.t()
    return Sample(made, torch.sqrt(error @ magnitudes.t() ** 2) + _rounding(made, form))


def _rounded_by(x: Tensor, weight: Matrix, form: Form) -> Tensor:
    """The largest error of each of the inputs, of its rounding to the form's type."""
    import torch

    if form.activations == STATIC:
        assert isinstance(weight, Quantized)  # noqa: S101
        scale = weight.input_scale
        assert scale is not None  # noqa: S101
        beyond = (x.abs() - HALF_RANGE * scale).clamp(min=0)
        return torch.where(x == 0, 0, scale / 2 + beyond)  # zero has a code
    own, of_row = INPUTS[form.activations]
    magnitudes = x.abs()
    return own * magnitudes + of_row * magnitudes.amax(-1, keepdim=True)


def _mixed(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    stacks: Sequence[Sequence[Matrix]],
    outer: Form,
    inner: Form,
) -> Sample:
    """The weighted outputs of the chosen experts, one after the other."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    roundoff = ROUNDOFF[outer.dtype]
    value, variance = torch.zeros(x.shape), torch.zeros(x.shape)
    for number in range(EXPERTS):
        start = Sample(x.float(), torch.zeros(x.shape))
        both = multiplied(start, stacks[0][number], outer)
        (gate, up), errors = both.value.chunk(2, -1), both.error.chunk(2, -1)
        hidden = F.silu(gate) * up
        # the slope of silu is below 1.1
        error = 1.1 * errors[0] * up.abs() + errors[1] * F.silu(gate).abs()
        middle = Sample(hidden, error + 2 * _rounding(hidden, outer))
        made = multiplied(middle, stacks[1][number], inner)
        share = torch.where(chosen == number, weights.float(), 0).sum(-1, keepdim=True)
        value += share * made.value
        variance += (share * made.error) ** 2 + (2 * roundoff * share * made.value) ** 2
    return Sample(value, variance.sqrt() + _rounding(value, outer))


def _rounding(value: Tensor, form: Form) -> Tensor:
    """The error of a value that is rounded to the type of activations."""
    return ROUNDOFF[form.dtype] * value.abs() + SMALLEST[form.dtype]


def _dequantized(weight: Matrix) -> tuple[Tensor, Tensor]:
    """The values, and the sum of the magnitudes that each is made of."""
    import torch

    if not isinstance(weight, Quantized):
        values = torch.from_numpy(weight)
        return values, values.abs()
    values = torch.from_numpy(weight.dequantize())
    if weight.zero_points is None:
        return values, values.abs()
    points = torch.from_numpy(weight.zero_points).float() - MIDDLE[weight.precision.bits]
    offsets = (points * torch.from_numpy(weight.scales).float()).repeat_interleave(
        values.shape[1] // points.shape[1], -1
    )
    return values, (values + offsets).abs() + offsets.abs()


def _inputs(count: int, form: Form) -> Tensor:
    """Normal inputs [count, K], every other one of which has one column that is not zero."""
    import numpy as np
    import torch

    x = np.random.default_rng(count).normal(size=(count, form.columns))
    lone = np.arange(1, count, 2)
    kept = np.zeros((len(lone), form.columns), bool)
    kept[np.arange(len(lone)), lone * 7 % form.columns] = True
    x[lone] = np.where(kept, x[lone], 0)
    return torch.from_numpy(x).to(getattr(torch, form.dtype))


def _small(form: Form, rows: int) -> Form:
    """A small form of the same kind: a row has one group, or several, as before."""
    size = form.precision.group_size
    columns = size if size == form.columns else max(COLUMNS, 2 * size)
    return replace(form, rows=rows, columns=columns)


def _given(weight: Matrix) -> Callable[[], Matrix]:
    return lambda: weight


def _told(name: str, device: str) -> AbstractContextManager[None]:
    return translated(f"the self-test of {name} on {device}", where=device, fix=FIX)


def _compare(name: str, made: Tensor, wanted: Sample, form: Form, device: str) -> None:
    off = (made.float() - wanted.value).abs() / (SIGMAS * wanted.error)
    # a result that is not a number compares with nothing
    if not bool((off <= 1).all()):
        worst = int(off.nan_to_num(nan=float("inf")).argmax())
        raise GenerationFailed(
            f"{name} is wrong on {device}: it gives {made.flatten()[worst]:.4g} where "
            f"{wanted.value.flatten()[worst]:.4g} is right, in a self-test of {form}",
            where=device,
            fix=FIX,
        )
