"""What the makers of a family recommend for chat where a checkpoint's own files do not say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class RecommendedSampling(NamedTuple):
    """How tokens are drawn; the terms are those of `qdeploy.interface.Sampling`."""

    temperature: float
    top_p: float
    top_k: int


@dataclass(frozen=True)
class Recommended:
    """Recommendations for a family whose models reason before they answer.

    Attributes:
        reasoning: the sampling of an answer that begins with reasoning.
        content: the sampling of an answer without it.
        early_stop: the text that ends reasoning early, before the closing tag.
        presence_penalty: what a quantized model that repeats itself should be asked with. It is no
            default: it changes answers that do not repeat anything.
    """

    reasoning: RecommendedSampling
    content: RecommendedSampling
    early_stop: str
    presence_penalty: float
