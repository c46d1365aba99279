"""How far a session's logits may be from the float model's, on the embedded models' prompts.

`golden.safetensors` of each embedded model holds token ids and the logits that transformers gives
for them in float32. These are the bounds that the conformance suite and `qdeploy doctor` hold every
backend to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from qdeploy import models
from qdeploy.evaluate.logits import Logits, log_softmax
from qdeploy.interface import Session


class Bound(NamedTuple):
    """What a precision may cost on the golden prompts: mean KL in nats, top-1 agreement."""

    kl: float
    top1: float


BOUNDS = {
    "fp16": Bound(1e-4, 0.999),
    "int8": Bound(0.02, 0.96),
    "int4": Bound(0.2, 0.90),
    "nf4": Bound(0.2, 0.90),
}
FLOAT_MAX_ERROR = 0.05
"""Largest difference of a float bundle's logits where float32 flows between operators: weights in
float16 are bfloat16's, exactly."""


class Prompt(NamedTuple):
    """A golden prompt: token ids, int64 [T], and what follows each, float32 logits [T, V]."""

    token_ids: NDArray[np.int64]
    logits: Logits


@dataclass(frozen=True)
class Distance:
    """How far logits are from the golden ones, over every position of every prompt.

    Attributes:
        kl: mean Kullback-Leibler divergence from the golden ones, in nats.
        top1: part of the positions where both prefer the same token.
        max_error: largest absolute difference of a logit.
    """

    kl: float
    top1: float
    max_error: float

    def broken(self, dtype: str, activations: str = "fp32") -> str | None:
        """What is beyond the bound of linear weights stored as *dtype*, or None.

        Args:
            dtype: as profiles name it.
            activations: what flows between operators.
        """
        bound = BOUNDS[dtype]
        if not self.kl <= bound.kl:  # so that NaN is beyond it
            return f"mean KL {self.kl:.3g} nats, {dtype} may cost {bound.kl:g}"
        if self.top1 < bound.top1:
            return f"top-1 agreement {self.top1:.1%}, {dtype} must have {bound.top1:.1%}"
        exact = dtype == "fp16" and activations == "fp32"
        if exact and self.max_error > FLOAT_MAX_ERROR:
            return f"a logit is {self.max_error:.3g} off, fp16 may be {FLOAT_MAX_ERROR:g}"
        return None


def golden(model: str) -> list[Prompt]:
    """The golden prompts of an embedded model."""
    tensors = load_file(models.path(model) / "golden.safetensors")
    keys = sorted({name.split(".")[0] for name in tensors})
    return [Prompt(tensors[f"{k}.input_ids"], tensors[f"{k}.logits"]) for k in keys]


def measure(session: Session, model: str) -> Distance:
    """Score the golden prompts of *model* and compare.

    Raises:
        ValueError: the session's logits have not the shape [T, V] of the model's.
    """
    divergence, agree, worst = [], [], 0.0
    for token_ids, expected in golden(model):
        logits = session.score(token_ids.tolist())
        if logits.shape != expected.shape:
            shape, right = list(logits.shape), list(expected.shape)
            raise ValueError(f"logits of shape {shape}, not {right}")
        p, q = log_softmax(expected), log_softmax(logits)
        divergence.append((np.exp(p) * (p - q)).sum(-1))
        agree.append(logits.argmax(-1) == expected.argmax(-1))
        worst = max(worst, float(np.abs(logits - expected).max()))
    return Distance(
        float(np.concatenate(divergence).mean()), float(np.concatenate(agree).mean()), worst
    )
