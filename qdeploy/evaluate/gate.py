"""The gate: which figures are over their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdeploy.bundle import Manifest
from qdeploy.evaluate.divergence import Figures
from qdeploy.planning.profile import Quality

SAME_CODES = Quality(max_kl_mean=0.002, min_top1=0.965)
"""What two bundles of the same codes may differ by: the arithmetic of kernels, and nothing else.

Their weights are the same numbers. What is left, activations in bfloat16 or eight bits and a cache
in eight, came to 0.0008 nats and 97.9% at the worst (qwen3-nano on prose, between OpenVINO's CPU
plugin and ONNX Runtime's); rounding to int4 costs 0.023 nats there. See docs/quality.md.
"""
SAME_CODES_EXPERTS = Quality(max_kl_mean=0.02, min_top1=0.94)
"""The same for a mixture of experts.

Where two experts are nearly equally good, any rounding may choose the other one, and the token then
goes through other weights altogether: 0.010 nats and 95.8% at the worst (qwen3-nano-moe on prose).
"""


def failures(figures: Figures, limits: Quality) -> tuple[str, ...]:
    """One sentence for each figure that is over its limit, with the value and the limit."""
    said = []
    if (most := limits.max_kl_mean) is not None and figures.kl_mean > most:
        said.append(f"mean KL divergence {figures.kl_mean:.4g} nats a token; at most {most:g}")
    if (least := limits.min_top1) is not None and figures.top1_agreement < least:
        said.append(f"top-1 agreement {figures.top1_agreement:.4g}; at least {least:g}")
    ratio = figures.perplexity_ratio
    if (most := limits.max_perplexity_ratio) is not None and ratio > most:
        said.append(f"perplexity {ratio:.4g} times the reference's; at most {most:g}")
    return tuple(said)


def changed(limits: Quality, overrides: Mapping[str, float | None]) -> Quality:
    """The limits, with those that a user set instead."""
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    return Quality.model_validate(limits.model_dump() | given)


def pair_limits(why_other: str | None, *, experts: bool) -> Quality:
    """The limits of a pair: tight for the same codes; of others it is for the user to say.

    Args:
        why_other: what `other_codes` says of the pair.
        experts: whether the model is a mixture of experts.
    """
    if why_other is not None:
        return Quality()
    return SAME_CODES_EXPERTS if experts else SAME_CODES


def other_codes(a: Manifest, b: Manifest) -> str | None:
    """Why two bundles do not hold the same integer codes and scales, or None if they do.

    Codes follow from the checkpoint, the precision of every tensor and who rounded it.
    """
    if a.model.digest != b.model.digest:
        return "they are of different checkpoints"
    if _precisions(a) != _precisions(b):
        return "their weights have different precisions"
    if (a.exporter, a.tools.get("qdeploy")) != (b.exporter, b.tools.get("qdeploy")):
        return "different exporters, or versions of one, rounded them"
    if a.plan.get("rope_scaling") != b.plan.get("rope_scaling"):
        return "their positions are scaled for different contexts"
    return None


def _precisions(manifest: Manifest) -> tuple[dict[str, int], set[tuple[str, str]]]:
    """Parameters by precision, and precision by tensor where it is not the profile's.

    Bytes are left out: what a scale or a zero point takes is the format's affair.
    """
    by_precision = manifest.plan.get("by_precision", {})
    parameters = {name: row.get("parameters", 0) for name, row in by_precision.items()}
    fallbacks = manifest.plan.get("fallbacks", [])
    return parameters, {(row["name"], row["precision"]) for row in fallbacks}
