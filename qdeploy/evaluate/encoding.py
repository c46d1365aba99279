"""Evaluate a bundle that embeds or reranks: vectors and scores against the reference's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.deploy.loaded_models.embedding import Embedder
from qdeploy.deploy.loaded_models.encoder import EncoderModel
from qdeploy.deploy.loaded_models.reranking import Reranker, probabilities
from qdeploy.deploy.run import Choice
from qdeploy.evaluate.gate import encoding_failures, override_limits
from qdeploy.evaluate.match import check_pair, open_reference
from qdeploy.evaluate.measure import Stages
from qdeploy.evaluate.ranking import Agreement, agreement, cosines, similarities, without_self
from qdeploy.evaluate.sentences import Sentences, read_sentences
from qdeploy.interface import Encoder
from qdeploy.planning.profile import Quality
from qdeploy.results import Cosine, EncodingEval, ScoreDifference, artifact_of, environment_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qdeploy.deploy.run import Asked

Floats = NDArray[np.float32]
Ids = tuple[int, ...]
Reference = Callable[[Sequence[Ids]], Floats]
"""What the reference gives for sequences of token ids, float32 [B, width]."""
QUERY = "query"
"""The prompt of queries, where the model has one of this name."""
LIMITS = ("min_cosine", "max_score_difference")
"""The limits of a profile that apply."""


def evaluate_encoding(
    judged: Bundle,
    choice: Choice,
    *,
    first: Bundle | None,
    reference: str,
    adapter: Path | None,
    allow_other_model: bool,
    texts: Sequence[str],
    documents: int | None,
    min_cosine: float | None,
    progress: Stages,
    **where: Unpack[Asked],
) -> tuple[EncodingEval, ...]:
    """Compare *judged*, loaded as *choice* says, with *first* or with the float checkpoint.

    The arguments and errors are those of `evaluation.evaluate`; *documents* is the most sentences
    of a text.
    """
    sentences = [read_sentences(name, documents=documents) for name in texts]
    limits = Quality() if first else judged.manifest.profile.quality
    limits = override_limits(limits, {"min_cosine": min_cosine})
    with ExitStack() as opened:
        against: dict[str, str]
        vectors: Reference
        if first:
            check_pair(first, judged, allow_other=allow_other_model)
            there = run.choose(first)
            other = EncoderModel(first, there, run.load_encoder(first, there))
            vectors = opened.enter_context(other).encode
            name = f"{first.manifest.model.name} ({first.path.name})"
            against = {"kind": "bundle", "name": name, "digest": first.digest}
        else:
            source = open_reference(
                judged, reference, adapter=adapter, allow_other=allow_other_model
            )
            opened.enter_context(source)
            layers = partial(progress, f"{source.name}, layers")
            vectors = partial(source.vectors, progress=layers)
            against = {"kind": source.kind, "name": source.name, "digest": source.digest}
        encoder = opened.enter_context(run.load_encoder(judged, choice, **where))
        return tuple(
            compare_encoder(judged, choice, encoder, against, vectors, text, limits)
            for text in sentences
        )


def compare_encoder(
    bundle: Bundle,
    choice: Choice,
    encoder: Encoder,
    against: Mapping[str, str],
    reference: Reference,
    text: Sentences,
    limits: Quality,
) -> EncodingEval:
    """Compare a loaded bundle with *reference*, of the kind, name and digest *against*.

    Raises:
        PromptError: a sentence does not fit.
        GenerationFailed: the runtime broke, or its vectors are not finite.
    """
    cosine: Cosine | None = None
    difference: ScoreDifference | None = None
    if bundle.manifest.task.name == "embed":
        cosine, ranks = _embeddings(Embedder(bundle, choice, encoder), reference, text)
    else:
        difference, ranks = _scores(Reranker(bundle, choice, encoder), reference, text)
    return EncodingEval(
        artifact=artifact_of(bundle),
        environment=environment_of(bundle, choice, encoder),
        reference=dict(against),
        text=text.as_dict(),
        cosine=cosine,
        score_difference=difference,
        rank_correlation=ranks.correlation,
        top1_agreement=ranks.top1,
        thresholds=limits.model_dump(exclude_none=True, include=set(LIMITS)),
        failures=encoding_failures(cosine, difference, limits),
    )


def _embeddings(model: Embedder, reference: Reference, text: Sentences) -> tuple[Cosine, Agreement]:
    """Of all documents and queries; a query ranks all documents but itself."""
    prompt = QUERY if QUERY in model.prompts.texts else None
    asked = [text.documents[place] for place in text.queries]
    ids = model.token_ids(text.documents) + model.token_ids(asked, prompt_name=prompt)
    got, wanted = model.encode(ids), reference([tuple(i) for i in ids])
    close = cosines(got, wanted)
    count = len(text.documents)
    orders = [
        without_self(similarities(vectors[count:], vectors[:count]), text.queries)
        for vectors in (got, wanted)
    ]
    cosine = Cosine(mean=float(close.mean()), min=float(close.min()))
    return cosine, agreement(orders[0], orders[1])


def _scores(
    model: Reranker, reference: Reference, text: Sentences
) -> tuple[ScoreDifference, Agreement]:
    """Of every query with every document, its own included."""
    ids = [
        pair
        for place in text.queries
        for pair in model.token_ids(text.documents[place], text.documents)
    ]
    got, wanted = model.encode(ids), reference([tuple(i) for i in ids])
    differences = np.abs(probabilities(got) - probabilities(wanted))
    # scores near 0 and 1 lose their order by rounding, the odds that they are of do not
    orders = [_odds(logits).reshape(len(text.queries), -1) for logits in (got, wanted)]
    difference = ScoreDifference(mean=float(differences.mean()), max=float(differences.max()))
    return difference, agreement(orders[0], orders[1])


def _odds(logits: Floats) -> Floats:
    return logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0)
