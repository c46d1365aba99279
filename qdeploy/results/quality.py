"""Results of `eval`: how far a bundle is from its reference."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qdeploy.results.subject import Amount, Artifact, Environment
from qdeploy.storage.toml_file import Strict


class KlBlock(Strict):
    """Positions that are resampled together: a passage of the text, or a part of one.

    Attributes:
        nats: sum of the KL divergence over its scored tokens.
    """

    nats: Amount
    tokens: int = Field(gt=0)


class Divergence(Strict):
    """Kullback-Leibler divergence from the reference, in nats per token.

    Attributes:
        interval: 95% interval of the mean, by a bootstrap over the blocks; None of fewer than
            five blocks, and of results that older versions of qdeploy wrote.
        blocks: of the text, in its order.
    """

    mean: float
    p99: float
    max: float
    interval: tuple[float, float] | None = None
    blocks: tuple[KlBlock, ...] = ()


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

    @property
    def point(self) -> str:
        """What identifies the row besides model, target, backend and profile."""
        name, tokens = self.text.get("name", ""), self.text.get("tokens", 0)
        return f"{name} ({tokens} tokens) against {self.reference.get('name', '')}"


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
