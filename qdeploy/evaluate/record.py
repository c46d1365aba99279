"""Create a result, `qdeploy.results.Eval`, from measured figures."""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy.bundle import Bundle
from qdeploy.deploy.run import Choice
from qdeploy.evaluate.gate import gate_failures
from qdeploy.evaluate.measure import Measured
from qdeploy.evaluate.text import Text
from qdeploy.interface import Session
from qdeploy.planning.profile import Quality
from qdeploy.results import Divergence, Eval, artifact_of, environment_of


def make_eval(
    bundle: Bundle,
    choice: Choice,
    session: Session,
    reference: Mapping[str, str],
    text: Text,
    measured: Measured,
    limits: Quality,
) -> Eval:
    """Create the result of comparing *bundle* with *reference*: its kind, name and digest."""
    figures = measured.figures
    return Eval(
        artifact=artifact_of(bundle, served=choice.backend.addressed),
        environment=environment_of(bundle, choice, session),
        reference=dict(reference),
        text=text.as_dict(),
        kl=Divergence(
            mean=figures.kl_mean,
            p99=figures.kl_p99,
            max=figures.kl_max,
            interval=figures.kl_interval,
            blocks=figures.kl_blocks,
        ),
        top1_agreement=figures.top1_agreement,
        perplexity=figures.perplexity,
        reference_perplexity=figures.reference_perplexity,
        first_divergence=measured.first_divergence,
        exact_match=measured.exact_match,
        thresholds=limits.model_dump(exclude_none=True),
        failures=gate_failures(figures, limits),
    )
