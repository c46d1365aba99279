"""The program that tries one case: export, load, score, generate.

It prints one JSON object a line to a file that its parent named: the stage that begins, what is
known of the device, and at last the verdict. What a driver prints goes elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.deploy import cache, run
from qdeploy.deploy.export import export, prepare
from qdeploy.doctor.cases import Case
from qdeploy.errors import CheckFailed, QdeployError, TargetUnavailable
from qdeploy.evaluate import golden
from qdeploy.interface import Progress, Request, Session
from qdeploy.planning.plan import Plan

NEW_TOKENS = 8
CLOSE = 0.5
"""Logits this near are a tie: prefill and decode round differently."""


class Report:
    """Where the child tells what it does."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, **known: Any) -> None:
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(known) + "\n")


def main() -> None:
    """Try the case that the second argument describes, and report to the file of the first."""
    report = Report(Path(sys.argv[1]))
    try:
        attempt(Case.from_json(sys.argv[2]), report)
    except TargetUnavailable as error:
        report(status="absent", message=error.reason, fix=error.fix)
    except CheckFailed as error:
        report(status="failed", failure="wrong", message=error.what, fix=error.fix)
    except QdeployError as error:
        report(status="failed", failure="error", message=error.what, fix=error.fix)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        report(status="failed", failure="error", message=" ".join(said.split()))
    else:
        report(status="ok")


def attempt(case: Case, report: Report) -> None:
    """Try a case to the end.

    Raises:
        TargetUnavailable: the device, or what makes its bundles, is absent.
        CheckFailed: the answers are wrong.
        QdeployError: anything else that was foreseen.
    """
    model, backend = case.model or "", case.backend or ""
    report(stage="looking for the device")
    plan, exporter = prepare(model, case.target, profile_name=case.profile)
    choice = run.find_device(
        plan.target, plan.format, backend=backend, device=0, simulate=case.simulate
    )
    report(device=choice.device.name)
    if reason := choice.backend.why_not(plan):
        raise TargetUnavailable(reason, "choose another --profile", where=backend)
    report(stage="exporting")
    place = cache.bundle_path(plan, exporter.name)
    opened = _open(place)
    if opened is None:
        cache.clear((place.name,))  # damaged, if it is there at all
        opened = export(plan, exporter, place, Progress(), force=True)
    report(stage="loading")
    with run.load(opened, choice) as session:
        report(evidence=str(session.placement().evidence), stage="scoring")
        _check_logits(session, plan, model)
        report(stage="generating")
        _check_generation(session, model)
        report(stage="closing")


def _open(place: Path) -> Bundle | None:
    """The bundle in the cache, if it is there and whole."""
    with contextlib.suppress(QdeployError):
        return open_bundle(place, full=True)
    return None


def _check_logits(session: Session, plan: Plan, model: str) -> None:
    try:
        distance = golden.measure(session, model)
        broken = distance.broken(plan.linear.dtype, plan.profile.graph.activations)
    except ValueError as error:
        broken = str(error)
    if broken:
        raise CheckFailed(f"logits are not the model's: {broken}", fix=_fix(model))


def _check_generation(session: Session, model: str) -> None:
    """Greedy tokens must be the first choice of the logits that the same session gives them."""
    prompt = tuple(int(t) for t in golden.golden(model)[0].token_ids)
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


if __name__ == "__main__":
    main()
