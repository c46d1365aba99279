"""The quality gate: figures that exceed the limits of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdeploy.bundle import Manifest
from qdeploy.evaluate.divergence import Figures
from qdeploy.planning.profile import Quality
from qdeploy.results import Cosine, ScoreDifference

SAME_CODES = Quality(max_kl_mean=0.002, min_top1=0.965)
"""Limits for two bundles with the same quantization codes: only kernel arithmetic differs.

Their weights are identical. Activations in bfloat16 or int8 and an int8 cache cause a KL divergence
of at most 0.0008 nats and an agreement of at least 97.9% (qwen3-nano on prose, OpenVINO
against ONNX Runtime); rounding to int4 costs 0.023 nats there. See docs/quality.md.
"""
SAME_CODES_EXPERTS = Quality(max_kl_mean=0.02, min_top1=0.94)
"""The same limits for mixture-of-experts models.

If two experts have nearly equal router scores, a rounding difference can select the other expert,
whose weights are different: at most 0.010 nats, at least 95.8% (qwen3-nano-moe on prose).
"""


def gate_failures(figures: Figures, limits: Quality) -> tuple[str, ...]:
    """One message per figure that exceeds its limit, with the value and the limit."""
    messages = []
    if (most := limits.max_kl_mean) is not None and figures.kl_mean > most:
        messages.append(
            f"mean KL divergence {figures.kl_mean:.4g} nats per token; at most {most:g}"
        )
    if (least := limits.min_top1) is not None and figures.top1_agreement < least:
        messages.append(f"top-1 agreement {figures.top1_agreement:.4g}; at least {least:g}")
    ratio = figures.perplexity_ratio
    if (most := limits.max_perplexity_ratio) is not None and ratio > most:
        messages.append(f"perplexity {ratio:.4g} times the reference's; at most {most:g}")
    return tuple(messages)


def encoding_failures(
    cosine: Cosine | None, difference: ScoreDifference | None, limits: Quality
) -> tuple[str, ...]:
    """The same for a bundle that embeds, with *cosine*, or reranks, with *difference*."""
    messages = []
    if cosine and (least := limits.min_cosine) is not None and cosine.min < least:
        messages.append(f"smallest cosine {cosine.min:.6g}; at least {least:g}")
    most = limits.max_score_difference
    if difference and most is not None and difference.max > most:
        messages.append(f"largest difference of a score {difference.max:.4g}; at most {most:g}")
    return tuple(messages)


def override_limits(limits: Quality, overrides: Mapping[str, float | None]) -> Quality:
    """Return *limits* with the overrides that are not None."""
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    return Quality.model_validate(limits.model_dump() | given)


def pair_limits(difference: str | None, *, experts: bool) -> Quality:
    """The limits for a pair of bundles: tight if their codes are equal, none by default otherwise.

    Args:
        difference: the result of `code_difference` for the pair.
        experts: whether the model is a mixture of experts.
    """
    if difference is not None:
        return Quality()
    return SAME_CODES_EXPERTS if experts else SAME_CODES


def code_difference(a: Manifest, b: Manifest) -> str | None:
    """Why two bundles have different integer codes and scales, or None if they are the same.

    The codes are determined by the checkpoint, the precision of every tensor, the exporter and the
    calibration, whose record has the loss of every weight.
    """
    if a.model.digest != b.model.digest:
        return "they are of different checkpoints"
    if a.calibration != b.calibration:
        one_only = a.calibration is None or b.calibration is None
        return "one of them is calibrated" if one_only else "they were calibrated differently"
    if _precisions(a) != _precisions(b):
        return "their weights have different precisions"
    if (a.exporter, a.tools.get("qdeploy")) != (b.exporter, b.tools.get("qdeploy")):
        return "different exporters, or versions of one, rounded them"
    if a.plan.get("rope_scaling") != b.plan.get("rope_scaling"):
        return "their positions are scaled for different contexts"
    return None


def _precisions(manifest: Manifest) -> tuple[dict[str, int], set[tuple[str, str]]]:
    """Parameters by precision, and the precision of each tensor that differs from the profile's.

    Sizes in bytes are not compared, because each format stores scales and zero points its own way.
    """
    by_precision = manifest.plan.get("by_precision", {})
    parameters = {name: row.get("parameters", 0) for name, row in by_precision.items()}
    fallbacks = manifest.plan.get("fallbacks", [])
    return parameters, {(row["name"], row["precision"]) for row in fallbacks}
