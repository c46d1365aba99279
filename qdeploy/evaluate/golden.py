"""Golden logits of the embedded models, and how far a session's logits may be from them.

`golden.safetensors` of each embedded model contains token ids and the logits that transformers
computes for them in float32. The conformance suite and `qdeploy doctor` check every backend against
them.
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
    """Limits of a precision on the golden prompts: mean KL in nats, top-1 agreement."""

    kl: float
    top1: float


BOUNDS = {
    "fp16": Bound(1e-4, 0.999),
    "fp8": Bound(0.02, 0.96),
    "int8": Bound(0.02, 0.96),
    "int4": Bound(0.2, 0.90),
    "nf4": Bound(0.2, 0.90),
}
ROUNDED_INPUTS = Bound(0.02, 0.94)
"""Of weights in eight bits whose inputs are rounded to eight bits, too. Measured at worst 0.0094
nats and 95.8%: the mixture of experts, whose router then chooses other experts here and there."""
ROUNDED_ACTIVATIONS = Bound(0.02, 0.94)
"""Of float weights with activations in bfloat16. Measured at worst 0.0117 nats and 96.9%, for the
same reason; 0.00012 nats and 99.2% without experts."""
FLOAT_MAX_ERROR = 0.05
"""Largest difference of a logit for float16 weights with float32 activations. The embedded models'
bfloat16 weights are represented exactly in float16."""


class Prompt(NamedTuple):
    """A golden prompt: token ids, int64 [T], and their logits, float32 [T, V]."""

    token_ids: NDArray[np.int64]
    logits: Logits


@dataclass(frozen=True)
class Distance:
    """Distance of logits from the golden ones, over all positions of all prompts.

    Attributes:
        kl: mean Kullback-Leibler divergence from the golden logits, in nats.
        top1: fraction of positions where both have the same most likely token.
        max_error: largest absolute difference of a logit.
    """

    kl: float
    top1: float
    max_error: float

    def exceeded_bound(
        self, dtype: str, activations: str = "fp32", inputs: str = "none"
    ) -> str | None:
        """Describe the bound that is exceeded, or return None.

        Args:
            dtype: of the linear weights, as in profiles.
            activations: data type of the activations.
            inputs: what linear layers round their inputs to: `graph.input_activations`.
        """
        bound = BOUNDS[dtype] if inputs == "none" else ROUNDED_INPUTS
        if dtype == "fp16" and activations == "bf16":
            bound = ROUNDED_ACTIVATIONS
        if not self.kl <= bound.kl:  # also true for NaN
            return f"mean KL {self.kl:.3g} nats, {dtype} may cost {bound.kl:g}"
        if self.top1 < bound.top1:
            return f"top-1 agreement {self.top1:.1%}, {dtype} must have {bound.top1:.1%}"
        exact = dtype == "fp16" and activations == "fp32"
        if exact and self.max_error > FLOAT_MAX_ERROR:
            return f"a logit is {self.max_error:.3g} off, fp16 may be {FLOAT_MAX_ERROR:g}"
        return None


def golden_prompts(model: str) -> list[Prompt]:
    """The golden prompts of an embedded model."""
    tensors = load_file(models.path(model) / "golden.safetensors")
    keys = sorted({name.split(".")[0] for name in tensors})
    return [Prompt(tensors[f"{k}.input_ids"], tensors[f"{k}.logits"]) for k in keys]


def measure_distance(session: Session, model: str) -> Distance:
    """Score the golden prompts of *model* and compare the logits.

    Raises:
        ValueError: the session's logits do not have the shape [T, V].
    """
    divergence, agree, worst = [], [], 0.0
    for token_ids, expected in golden_prompts(model):
        logits = session.score(token_ids.tolist())
        if logits.shape != expected.shape:
            raise ValueError(f"logits of shape {list(logits.shape)}, not {list(expected.shape)}")
        p, q = log_softmax(expected), log_softmax(logits)
        divergence.append((np.exp(p) * (p - q)).sum(-1))
        agree.append(logits.argmax(-1) == expected.argmax(-1))
        worst = max(worst, float(np.abs(logits - expected).max()))
    return Distance(
        float(np.concatenate(divergence).mean()), float(np.concatenate(agree).mean()), worst
    )
