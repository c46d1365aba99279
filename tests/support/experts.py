"""Experts of random weights, and their output token by token. This module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.kernels import selftest
from qdeploy.backends.torch.kernels.base import ExpertLayers, Form, Place
from qdeploy.backends.torch.kernels.table import expert_kernel
from qdeploy.quantization.quantized import Quantized

Product = Callable[[Any], Any]
EXPERTS, HIDDEN, INNER = 12, 128, 64
ROUTINGS = ("any", "one expert", "the last expert", "some without tokens", "all experts")


@dataclass(frozen=True)
class Packed:
    """Experts that a kernel holds, and the values that their weights stand for.

    Attributes:
        name: the kernel's.
        gate_up: of each expert, the product with its weight [2 * INNER, HIDDEN] in float32.
        down: the same, [HIDDEN, INNER].
    """

    name: str
    layers: ExpertLayers
    gate_up: Sequence[Product]
    down: Sequence[Product]

    def by_token(self, x: Any, chosen: Any, weights: Any) -> Any:
        """What the layers should give: one product after the other, in float32."""
        made = torch.zeros(x.shape)
        for token in range(len(x)):
            for expert, weight in zip(chosen[token].tolist(), weights[token].tolist(), strict=True):
                gate, up = self.gate_up[expert](x[token].float()).chunk(2)
                hidden = torch.nn.functional.silu(gate) * up
                made[token] += weight * self.down[expert](hidden)
        return made


def pack(accelerator: Accelerator, kind: Form, place: Place) -> Packed:
    """Experts whose weights are of a form, of any size, in the kernel that takes them."""
    draw = np.random.default_rng(0)
    outer = replace(kind, rows=2 * INNER, columns=HIDDEN)
    inner = replace(kind, rows=HIDDEN, columns=INNER)
    stacks = [
        [selftest.random_weight(form, draw) for _ in range(EXPERTS)] for form in (outer, inner)
    ]
    kernel = expert_kernel(accelerator.expert_kernels(), outer, inner, where="a test")
    gate_up, down = ([partial(copy, weight) for weight in stack] for stack in stacks)
    layers = kernel.pack(gate_up, down, outer, inner, place)
    return Packed(kernel.name, layers, *([_product(w) for w in stack] for stack in stacks))


def routing(tokens: int, name: str) -> Any:
    """The experts that each token chose, int64 [T, K]."""
    draw = np.random.default_rng(tokens)
    numbers = {
        "any": [draw.permutation(EXPERTS)[:4] for _ in range(tokens)],
        "one expert": [[7]] * tokens,
        "the last expert": [[EXPERTS - 1]] * tokens,
        "some without tokens": [draw.permutation(EXPERTS // 2)[:3] * 2 for _ in range(tokens)],
        "all experts": [draw.permutation(EXPERTS) for _ in range(tokens)],
    }
    return torch.from_numpy(np.array(numbers[name]))


def largest_difference(packed: Packed, device: Any, dtype: Any, tokens: int, name: str) -> float:
    """How far the layers are from `by_token`, of the largest value."""
    chosen = routing(tokens, name)
    draw = torch.Generator().manual_seed(tokens)
    x = torch.randn((tokens, HIDDEN), generator=draw).to(dtype)
    weights = torch.rand(chosen.shape, generator=draw).to(dtype)
    wanted = packed.by_token(x, chosen, weights)
    made = packed.layers(x.to(device), chosen.to(device), weights.to(device))
    assert (made.device, made.dtype) == (device, dtype)
    return float((made.cpu().float() - wanted).abs().max() / wanted.abs().max())


def _product(weight: Any) -> Product:
    """Inputs that have a static scale are rounded by it."""
    if not isinstance(weight, Quantized):
        return lambda x: torch.from_numpy(weight) @ x
    values, scale = torch.from_numpy(weight.dequantize()), weight.input_scale
    if scale is None:
        return lambda x: values @ x
    return lambda x: values @ ((x / scale).round().clamp(-128, 127) * scale)
