"""Results of `eval`: how far a bundle is from its reference."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qdeploy.results.subject import Artifact, Environment
from qdeploy.storage.toml_file import Strict


class Divergence(Strict):
    """Kullback-Leibler divergence from the reference, in nats per token."""

    mean: float
    p99: float
    max: float


class Eval(Strict):
    """Quality of a bundle: how far its predictions are from the reference's.

    Attributes:
        reference: kind, name and digest of the model that the bundle is compared with.
        text: name and sha256 of the text, and how many of its tokens were scored.
        top1_agreement: fraction of positions where both models rank the same token first.
        first_divergence: length of the common prefix of both models' greedy decoding, in tokens;
            the median over the prompts.
        exact_match: percentage of held-out questions answered exactly, by `thinking` and `answer`.
        thresholds: the quality gate's limits; *failures* lists those exceeded, empty if none.
    """

    kind: Literal["eval"] = "eval"
    artifact: Artifact
    environment: Environment
    reference: dict[str, str]
    text: dict[str, str | int]
    kl: Divergence
    top1_agreement: float
    perplexity: float
    reference_perplexity: float
    first_divergence: float | None = None
    exact_match: dict[str, float] | None = None
    thresholds: dict[str, float] = Field(default_factory=dict)
    failures: tuple[str, ...] = ()


class Cosine(Strict):
    """Cosine of vectors to the reference's: the mean, and the smallest of any text."""

    mean: float
    min: float


class ScoreDifference(Strict):
    """Absolute difference of scores from the reference's: the mean, and the largest of any pair."""

    mean: float
    max: float


class EncodingEval(Strict):
    """Quality of a bundle that embeds or reranks: how far its vectors or scores are.

    Attributes:
        reference: kind, name and digest of the model that the bundle is compared with.
        text: name and sha256 of the text, and how many documents and queries were made of it.
        cosine: of an embedding model, else None.
        score_difference: of a reranking model, else None.
        rank_correlation: Spearman's, between the orders in which both put the documents of a
            query; the mean over the queries.
        top1_agreement: fraction of queries for which both put the same document first.
        thresholds: the quality gate's limits; *failures* lists those exceeded, empty if none.
    """

    kind: Literal["encoding"] = "encoding"
    artifact: Artifact
    environment: Environment
    reference: dict[str, str]
    text: dict[str, str | int]
    cosine: Cosine | None = None
    score_difference: ScoreDifference | None = None
    rank_correlation: float
    top1_agreement: float
    thresholds: dict[str, float] = Field(default_factory=dict)
    failures: tuple[str, ...] = ()
