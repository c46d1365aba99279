"""The bundle on a device of this machine, against the logits of transformers' model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.errors import GenerationFailed
from qdeploy.evaluate.divergence import Tally
from qdeploy.evaluate.gate import gate_failures
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
            if logits.shape != expected.logits.shape or not np.isfinite(logits).all():
                raise GenerationFailed(
                    f"the runtime's logits have the shape {logits.shape} or are not all finite; "
                    f"expected are finite ones of {expected.logits.shape}",
                    where=bundle.path,
                )
            tally.add(expected.logits, logits, np.roll(np.array(ids), -1))
    figures = tally.figures()
    # the texts are chats, whose own likelihood says nothing of quality
    limits = bundle.manifest.profile.quality.model_copy(update={"max_perplexity_ratio": None})
    failure = "; ".join(gate_failures(figures, limits)) or None
    found = (
        f"KL {figures.kl_mean:.2g} nats per token, top-1 agreement {figures.top1_agreement:.4g}, "
        f"on {run.describe(choice)}"
    )
    return Check(PART, "logits", found, failure)
