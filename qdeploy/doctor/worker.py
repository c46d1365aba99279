"""The worker: tests one case by export, load, score and generate."""

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
from qdeploy.system.parent import Parent, bugs_as_errors

NEW_TOKENS = 8
CLOSE = 0.5
"""A smaller difference of logits is a tie, since prefill and decode round differently."""


def work(job: dict[str, Any], parent: Parent) -> None:
    """Test a `Case`, given as a dict of its fields; raises as `attempt`.

    The events hold the `device`, and the `evidence` once the runtime has proved the placement.
    """
    with bugs_as_errors():
        attempt(Case(**job), parent)


def attempt(case: Case, parent: Parent) -> None:
    """Test a case.

    Raises:
        TargetUnavailable: the device, or a library of the exporter, is absent.
        CheckFailed: logits or tokens are wrong.
        QdeployError: another step failed.
    """
    model, backend = case.model or "", case.backend or ""
    parent.stage("looking for the device")
    plan, exporter = prepare(model, case.target, profile_name=case.profile)
    choice = run.find_device(
        plan.target, plan.format, backend=backend, device=0, simulate=case.simulate
    )
    parent.send(device=choice.device.name)
    if reason := choice.backend.why_not(plan):
        raise TargetUnavailable(reason, "choose another --profile", where=backend)
    parent.stage("exporting")
    place = cache.bundle_path(plan, exporter.name)
    opened = _open(place)
    if opened is None:
        cache.clear((place.name,))  # it is damaged, or absent
        opened = export(plan, exporter, place, Progress(), force=True)
    parent.stage("loading")
    with run.load(opened, choice) as session:
        parent.send(evidence=str(session.placement().evidence))
        parent.stage("scoring")
        _check_logits(session, plan, model)
        parent.stage("generating")
        _check_generation(session, model)
        parent.stage("closing")


def _open(place: Path) -> Bundle | None:
    """Return the bundle at *place*, or None if it is absent or damaged."""
    with contextlib.suppress(QdeployError):
        return open_bundle(place, full=True)
    return None


def _check_logits(session: Session, plan: Plan, model: str) -> None:
    try:
        distance = measure_distance(session, model)
        graph = plan.profile.graph
        broken = distance.exceeded_bound(
            plan.linear.dtype, graph.activations, graph.input_activations
        )
    except ValueError as error:
        broken = str(error)
    if broken:
        raise CheckFailed(f"the logits are wrong: {broken}", fix=_fix(model))


def _check_generation(session: Session, model: str) -> None:
    """Check that greedy tokens are the top-1 of the logits that the session scores for them."""
    prompt = tuple(int(t) for t in golden_prompts(model)[0].token_ids)
    made = [t.id for t in session.generate(Request(prompt, NEW_TOKENS))]
    if len(made) != NEW_TOKENS:
        raise CheckFailed(f"{len(made)} of {NEW_TOKENS} tokens were generated", fix=_fix(model))
    logits = session.score([*prompt, *made])[len(prompt) - 1 : -1]
    for position, token in enumerate(made):
        if not 0 <= token < logits.shape[1]:
            raise CheckFailed(f"token {token} is not in the vocabulary", fix=_fix(model))
        if logits[position].max() - logits[position, token] >= CLOSE:
            raise CheckFailed(
                f"token {position + 1} of the answer is not the top-1 of its logits",
                fix=_fix(model),
            )


def _fix(model: str) -> str:
    return f"update driver and runtime; if it persists, report it with {model}, the smallest model"
