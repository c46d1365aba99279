"""The worker that tries one case: export, load, score, generate."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.deploy import cache, run
from qdeploy.deploy.export import export, prepare
from qdeploy.doctor.cases import Case
from qdeploy.errors import CheckFailed, QdeployError, TargetUnavailable
from qdeploy.evaluate.golden import golden_prompts, measure_distance
from qdeploy.interface import Progress, Request, Session
from qdeploy.planning.plan import Plan
from qdeploy.system.worker import Parent, bugs_as_errors

NEW_TOKENS = 8
CLOSE = 0.5
"""Logits this near are a tie: prefill and decode round differently."""


def work(job: dict[str, Any], parent: Parent) -> None:
    """Try the case whose fields *job* holds; raises as `attempt`.

    The events tell `device`, and `evidence` once the runtime has told where the work runs.
    """
    with bugs_as_errors():
        attempt(Case(**job), parent)


def attempt(case: Case, parent: Parent) -> None:
    """Try a case to the end.

    Raises:
        TargetUnavailable: the device, or what makes its bundles, is absent.
        CheckFailed: the answers are wrong.
        QdeployError: anything else that was foreseen.
    """
    model, backend = case.model or "", case.backend or ""
    parent.stage("looking for the device")
    plan, exporter = prepare(model, case.target, profile_name=case.profile)
    choice = run.find_device(
        plan.target, plan.format, backend=backend, device=0, simulate=case.simulate
    )
    parent.tell(device=choice.device.name)
    if reason := choice.backend.why_not(plan):
        raise TargetUnavailable(reason, "choose another --profile", where=backend)
    parent.stage("exporting")
    place = cache.bundle_path(plan, exporter.name)
    opened = _open(place)
    if opened is None:
        cache.clear((place.name,))  # damaged, if it is there at all
        opened = export(plan, exporter, place, Progress(), force=True)
    parent.stage("loading")
    with run.load(opened, choice) as session:
        parent.tell(evidence=str(session.placement().evidence))
        parent.stage("scoring")
        _check_logits(session, plan, model)
        parent.stage("generating")
        _check_generation(session, model)
        parent.stage("closing")


def _open(place: Path) -> Bundle | None:
    """The bundle in the cache, if it is there and whole."""
    with contextlib.suppress(QdeployError):
        return open_bundle(place, full=True)
    return None


def _check_logits(session: Session, plan: Plan, model: str) -> None:
    try:
        distance = measure_distance(session, model)
        broken = distance.exceeded_bound(plan.linear.dtype, plan.profile.graph.activations)
    except ValueError as error:
        broken = str(error)
    if broken:
        raise CheckFailed(f"logits are not the model's: {broken}", fix=_fix(model))


def _check_generation(session: Session, model: str) -> None:
    """Greedy tokens must be the first choice of the logits that the same session gives them."""
    prompt = tuple(int(t) for t in golden_prompts(model)[0].token_ids)
    made = [t.id for t in session.generate(Request(prompt, NEW_TOKENS))]
    if len(made) != NEW_TOKENS:
        raise CheckFailed(f"{len(made)} tokens came of {NEW_TOKENS}", fix=_fix(model))
    logits = session.score([*prompt, *made])[len(prompt) - 1 : -1]
    for position, token in enumerate(made):
        if not 0 <= token < logits.shape[1]:
            raise CheckFailed(f"token {token} is not in the vocabulary", fix=_fix(model))
        if logits[position].max() - logits[position, token] >= CLOSE:
            raise CheckFailed(
                f"token {position + 1} of the answer is not the one its logits prefer",
                fix=_fix(model),
            )


def _fix(model: str) -> str:
    return f"update driver and runtime; if it stays, report it with {model}: it is the smallest"
