"""The bundle on a device of this machine, against the logits of transformers' model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.deploy.loaded_models.reranking import probabilities
from qdeploy.evaluate.divergence import Tally
from qdeploy.evaluate.gate import encoding_failures, gate_failures
from qdeploy.evaluate.logits import check_logits
from qdeploy.evaluate.ranking import cosines
from qdeploy.results import Cosine, ScoreDifference
from qdeploy.verification.outcome import Check
from qdeploy.verification.transformers_model import Reading

PART = "bundle"


def compare_bundle(
    bundle: Bundle,
    choice: run.Choice,
    passages: Sequence[Sequence[int]],
    theirs: Sequence[Reading],
    *,
    threads: int | None,
) -> Check:
    """Run *bundle* and hold its distance from transformers to the limits of its profile.

    Raises:
        GenerationFailed: the runtime failed, or its logits have another shape or are not finite.
    """
    tally = Tally()
    with run.load(bundle, choice, threads=threads) as session:
        for ids, expected in zip(passages, theirs, strict=True):
            logits = session.score(ids)
            check_logits(logits, expected.output, where=bundle.path)
            tally.add(expected.output, logits, np.roll(np.array(ids), -1))
    figures = tally.figures()
    # the texts are chats, whose own likelihood says nothing of quality
    limits = bundle.manifest.profile.quality.model_copy(update={"max_perplexity_ratio": None})
    failure = "; ".join(gate_failures(figures, limits)) or None
    found = (
        f"KL {figures.kl_mean:.2g} nats per token, top-1 agreement {figures.top1_agreement:.4g}, "
        f"on {run.describe(choice)}"
    )
    return Check(PART, "logits", found, failure)


def compare_encoder(
    bundle: Bundle,
    choice: run.Choice,
    passages: Sequence[Sequence[int]],
    theirs: Sequence[Reading],
    *,
    threads: int | None,
) -> Check:
    """The same for a bundle that embeds, by the cosine, or reranks, by the score."""
    with run.load_encoder(bundle, choice, threads=threads) as encoder:
        got = encoder.encode(passages)
    wanted = np.stack([reading.output for reading in theirs])
    limits = bundle.manifest.profile.quality
    if bundle.manifest.task.name == "embed":
        close = cosines(got, wanted)
        cosine = Cosine(mean=float(close.mean()), min=float(close.min()))
        failures = encoding_failures(cosine, None, limits)
        found = f"smallest cosine {cosine.min:.6f}"
    else:
        apart = np.abs(probabilities(got) - probabilities(wanted))
        difference = ScoreDifference(mean=float(apart.mean()), max=float(apart.max()))
        failures = encoding_failures(None, difference, limits)
        found = f"largest difference of a score {difference.max:.2g}"
    where = f"{found}, on {run.describe(choice)}"
    return Check(PART, "encodings", where, "; ".join(failures) or None)
