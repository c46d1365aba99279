"""Experts on simulated devices and on fake tensors, against a loop over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import pytest

from qdeploy.backends.torch.accelerators.cuda import Cuda
from qdeploy.backends.torch.kernels import grouped, selftest, stacks
from qdeploy.backends.torch.kernels.base import ExpertLayers, Form, Place
from qdeploy.backends.torch.kernels.table import expert_kernel
from qdeploy.backends.torch.simulated.device import activate
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

EXPERTS, HIDDEN, INNER = 12, 128, 64
FLOAT = Precision(dtype="fp16")
INT4 = Precision(dtype="int4", symmetric=True, group_size=32)
INT8 = Precision(dtype="int8", symmetric=True)
Stack = Sequence[Any]


def stack(rows: int, columns: int, precision: Precision) -> tuple[Form, Stack]:
    form = Form(rows, columns, precision)
    draw = np.random.default_rng(rows)
    return form, [selftest.random_weight(form, draw) for _ in range(EXPERTS)]


def pack(precision: Precision, place: Place) -> tuple[ExpertLayers, Stack, Stack]:
    """The layers, and the weights that they hold."""
    outer, gate_up = stack(2 * INNER, HIDDEN, precision)
    inner, down = stack(HIDDEN, INNER, precision)
    accelerator = Cuda("simulated", "sm_90")
    kernel = expert_kernel(accelerator.expert_kernels(), outer, inner, where="test")
    reads = [[partial(copy, weight) for weight in weights] for weights in (gate_up, down)]
    return kernel.pack(reads[0], reads[1], outer, inner, place), gate_up, down


def values(weight: Any) -> Any:
    return torch.from_numpy(weight.dequantize() if isinstance(weight, Quantized) else weight)


def by_token(x: Any, chosen: Any, weights: Any, gate_up: list[Any], down: list[Any]) -> Any:
    made = torch.zeros(x.shape)
    for token in range(len(x)):
        for expert, weight in zip(chosen[token].tolist(), weights[token].tolist(), strict=True):
            gate, up = (gate_up[expert] @ x[token].float()).chunk(2)
            hidden = torch.nn.functional.silu(gate) * up
            made[token] += weight * (down[expert] @ hidden)
    return made


def routing(tokens: int, name: str) -> Any:
    draw = np.random.default_rng(tokens)
    numbers = {
        "any": [draw.permutation(EXPERTS)[:4] for _ in range(tokens)],
        "one expert": [[7]] * tokens,
        "the last expert": [[EXPERTS - 1]] * tokens,
        "some without tokens": [draw.permutation(EXPERTS // 2)[:3] * 2 for _ in range(tokens)],
        "all experts": [draw.permutation(EXPERTS) for _ in range(tokens)],
    }
    return torch.from_numpy(np.array(numbers[name]))


@pytest.mark.parametrize(
    ("precision", "at_a_time"),
    [(FLOAT, 12), (INT4, 12), (INT8, 12), (FLOAT, 5), (INT8, 1)],
    ids=str,
)
def test_any_routing(precision: Precision, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens and many, with experts in one slice or in several."""
    size = 2 * (2 * INNER * HIDDEN + HIDDEN * INNER) * at_a_time
    monkeypatch.setattr(grouped, "EXPERTS_AT_A_TIME", size)
    monkeypatch.setattr(stacks, "EXPERTS_AT_A_TIME", size)
    device = activate("cuda-sm90")[1]
    layers, *stacked = pack(precision, lambda tensor: tensor.to(device))
    gate_up, down = ([values(weight) for weight in held] for held in stacked)
    for name in ("any", "one expert", "the last expert", "some without tokens", "all experts"):
        for tokens in (1, 3, 20):
            chosen = routing(tokens, name)
            draw = torch.Generator().manual_seed(tokens)
            x = torch.randn((tokens, HIDDEN), generator=draw).bfloat16()
            weights = torch.rand(chosen.shape, generator=draw).bfloat16()
            wanted = by_token(x, chosen, weights, gate_up, down)
            made = layers(x.to(device), chosen.to(device), weights.to(device))
            assert (made.device, made.dtype) == (device, torch.bfloat16)
            off = (made.cpu().float() - wanted).abs().max() / wanted.abs().max()
            assert off < 0.03, (name, tokens)


def test_the_output_of_a_token_does_not_depend_on_the_others() -> None:
    """The slots of tokens are added up in the order of their choices, whatever the slices."""
    device = activate("cuda-sm90")[0]
    layers, *_ = pack(FLOAT, lambda tensor: tensor.to(device))
    x, chosen = torch.randn(40, HIDDEN).bfloat16(), routing(40, "any")
    weights = torch.rand(chosen.shape).bfloat16()
    first, again = (layers(x.to(device), chosen.to(device), weights.to(device)) for _ in range(2))
    assert torch.equal(first.cpu(), again.cpu())


@pytest.mark.parametrize("precision", [FLOAT, INT4, INT8], ids=str)
def test_fake_cuda_tensors(precision: Precision) -> None:
    """No value is read on the host, so a step can be captured."""
    from tests.support.fake_cuda import fake_cuda

    with fake_cuda():
        layers, *_ = pack(precision, lambda tensor: tensor.to("cuda:0"))
        for tokens, top in ((1, 4), (9, 2), (300, 8)):
            x = torch.empty(tokens, HIDDEN, dtype=torch.bfloat16, device="cuda:0")
            chosen = torch.zeros(tokens, top, dtype=torch.int64, device="cuda:0")
            made = layers(x, chosen, x.new_ones(chosen.shape))
            assert (made.shape, made.dtype, made.device) == (x.shape, x.dtype, x.device)
