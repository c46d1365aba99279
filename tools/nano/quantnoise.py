"""Fake weight quantization in torch: as noise during training and as a measure afterwards.

Why as noise: a model this small has little redundancy, and rounding its weights to 4 bits after
training would cost many points. In the last part of training every step therefore runs with
weights rounded by a randomly drawn scheme, while the gradient updates the unrounded ones
(straight-through). The result is good in float and in every one of these schemes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

GROUP = 128  # weights that share one scale, along in_features


def _asymmetric(weight: Tensor, bits: int) -> Tensor:
    """Round rows [..., n] to 2**bits levels between their minimum and maximum, 0 included."""
    low = weight.amin(-1, keepdim=True).clamp(max=0)
    high = weight.amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8)
    zero = torch.round(-low / scale)
    return ((weight / scale).round() + zero).clamp(0, 2**bits - 1).sub(zero) * scale


def _symmetric(weight: Tensor, bits: int) -> Tensor:
    """Round rows [..., n] to the levels -2**(bits-1)+1 .. 2**(bits-1)-1 times one scale."""
    levels = 2 ** (bits - 1) - 1
    scale = (weight.abs().amax(-1, keepdim=True) / levels).clamp(min=1e-8)
    return (weight / scale).round().clamp(-levels, levels) * scale


def _grouped(quantize: Callable[[Tensor, int], Tensor], weight: Tensor, bits: int) -> Tensor:
    return quantize(weight.unflatten(-1, (-1, GROUP)), bits).flatten(-2)


# Name -> rounding of one weight [..., in_features]. Embeddings are treated apart (see below).
SCHEMES: dict[str, Callable[[Tensor], Tensor]] = {
    "int8": lambda w: _symmetric(w, 8),
    "int4-asym-g128": lambda w: _grouped(_asymmetric, w, 4),
    "int4-sym-g128": lambda w: _grouped(_symmetric, w, 4),
    "int4-sym-channel": lambda w: _symmetric(w, 4),
}


def quantize_(model: nn.Module, scheme: str) -> None:
    """Round every weight of the model in place; norms and the router stay as they are.

    The embedding and the output head are rounded to int8 whatever the scheme, which is how
    deployed int4 models keep them.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2 or name.endswith("mlp.gate.weight"):
                continue
            outer = "embed_tokens" in name or "lm_head" in name
            weight.copy_(SCHEMES["int8" if outer else scheme](weight))


@contextmanager
def quantized(model: nn.Module, scheme: str | None) -> Iterator[None]:
    """Run a block with rounded weights and put the exact ones back; None rounds nothing.

    Gradients computed inside belong to the rounded weights and are applied to the exact ones
    afterwards: that is the straight-through estimator.
    """
    if scheme is None:
        yield
        return
    exact = [parameter.detach().clone() for parameter in model.parameters()]
    quantize_(model, scheme)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), exact, strict=True):
                parameter.copy_(value)
