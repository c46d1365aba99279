"""`evaluate`: from a bundle and a reference to results, with the limits that they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from qdeploy import models
from qdeploy.bundle import Bundle, open_bundle
from qdeploy.deploy import run
from qdeploy.errors import CheckFailed, InputError
from qdeploy.evaluate.encoding import evaluate_encoding
from qdeploy.evaluate.gate import code_difference, override_limits, pair_limits
from qdeploy.evaluate.match import check_pair, open_reference
from qdeploy.evaluate.measure import Stages, measure
from qdeploy.evaluate.record import make_eval
from qdeploy.evaluate.reference import BundleReference, Reference
from qdeploy.evaluate.text import (
    PROSE,
    TASKS,
    WINDOW,
    expand_texts,
    read_passages,
    spread_evenly,
)
from qdeploy.results import EncodingEval, Eval
from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.tokenizer import Tokenizer

HELDOUT = 48
"""Questions of the embedded models, by default: ten seconds on two cores."""


@dataclass(frozen=True)
class Evaluation:
    """The results, one a text, and the bundle that they judge."""

    bundle: Bundle
    results: tuple[Eval | EncodingEval, ...]

    def check(self) -> None:
        """Fail if a figure of any text is over its limit.

        Raises:
            CheckFailed: one is.
        """
        over = [f"on {r.text['name']}, {failure}" for r in self.results for failure in r.failures]
        if over:
            raise CheckFailed(
                f"too far from {self.results[0].reference['name']}: {'; '.join(over)}",
                where=self.bundle.path,
                fix="choose a profile that loses less (qdeploy profiles), or other limits",
            )


def evaluate(
    bundle: Path,
    other: Path | None = None,
    *,
    reference: str | None = None,
    adapter: str | Path | None = None,
    allow_other_model: bool = False,
    texts: Sequence[str] = (),
    window: int | None = None,
    windows: int | None = None,
    heldout: int | None = None,
    max_kl: float | None = None,
    min_top1: float | None = None,
    min_cosine: float | None = None,
    target: str | None = None,
    device: run.Which = 0,
    backend: str | None = None,
    simulate: bool = False,
    context: int | None = None,
    threads: int | None = None,
    progress: Stages = lambda stage, done, total: None,
) -> Evaluation:
    """Measure how far *bundle* is from the float checkpoint *reference*, or *other* from *bundle*.

    Of two bundles, the first is the reference and runs where it was made for; where to run is the
    second's.

    Args:
        bundle: a bundle's directory.
        other: another bundle's directory.
        reference: name or directory of the float checkpoint.
        adapter: directory of the adapter that was merged into the bundle.
        allow_other_model: compare with another model all the same.
        texts: files of UTF-8 text, or names of those that ship, or `all` of these.
        window: tokens of a passage.
        windows: the most passages of a text.
        heldout: how many held-out questions; None is 48 for embedded models, else none.
        max_kl: limit in place of the profile's.
        min_top1: limit in place of the profile's.
        min_cosine: limit in place of the profile's, for a model that embeds.
        target: where to run; see `deploy.run.choose`, also for the next three.
        device: number or id.
        backend: name.
        simulate: on the target's simulated device.
        context: tokens that the session holds.
        threads: of the runtime; None is its default here.
        progress: called with a stage's title, and how many of how many steps of it are done.

    Raises:
        QdeployError: names that do not go together, something absent, or a runtime that broke.
    """
    judged = open_bundle(other or bundle, full=True)
    choice = run.choose(judged, target=target, backend=backend, device=device, simulate=simulate)
    unusable = {
        "heldout": heldout, "window": window, "max-kl": max_kl, "min-top1": min_top1,
    }  # fmt: skip
    generates = judged.manifest.task.generates
    _refuse({"min-cosine": min_cosine} if generates else unusable, judged)
    if not generates:
        made_of_encoder = evaluate_encoding(
            judged,
            choice,
            first=open_bundle(bundle, full=True) if other else None,
            reference=reference or "",
            adapter=Path(adapter) if adapter else None,
            allow_other_model=allow_other_model,
            texts=expand_texts(texts or (PROSE,), chats=False),
            documents=windows,
            min_cosine=min_cosine,
            progress=progress,
            context=context,
            threads=threads,
        )
        return Evaluation(judged, made_of_encoder)
    embedded = judged.manifest.model.name in models.EMBEDDED
    tokenizer = Tokenizer(judged.path, prepared=True)
    names = texts or (PROSE, *([TASKS] if embedded else []))
    names = expand_texts(names, chats=find_chat_template(tokenizer.files) is not None)
    scored = [
        read_passages(name, tokenizer, window=window or WINDOW, windows=windows) for name in names
    ]
    count = HELDOUT if heldout is None and embedded else heldout or 0
    questions = spread_evenly(models.heldout(), count) if count else []
    limits, why = judged.manifest.profile.quality, None
    with ExitStack() as opened:
        source: Reference
        if other:
            first = open_bundle(bundle, full=True)
            check_pair(first, judged, allow_other=allow_other_model)
            why = code_difference(first.manifest, judged.manifest)
            limits = pair_limits(why, experts=judged.manifest.model.experts > 0)
            session_a = opened.enter_context(run.load(first, run.choose(first)))
            source = BundleReference(first, session_a)
        else:
            source = open_reference(
                judged,
                reference or "",
                adapter=Path(adapter) if adapter else None,
                allow_other=allow_other_model,
            )
        opened.enter_context(source)
        limits = override_limits(limits, {"max_kl_mean": max_kl, "min_top1": min_top1})
        session = opened.enter_context(run.load(judged, choice, context=context, threads=threads))
        against = {"kind": source.kind, "name": source.name, "digest": source.digest}
        if other:
            against["codes"] = "the same" if why is None else f"not the same: {why}"
        made = []
        for text in scored:
            asked = questions if text is scored[-1] else []  # once is enough
            measured = measure(session, tokenizer, source, text, asked, progress)
            made.append(make_eval(judged, choice, session, against, text, measured, limits))
    return Evaluation(judged, tuple(made))


def _refuse(options: Mapping[str, object], judged: Bundle) -> None:
    """Refuse the options, by their names on the command line, that are set.

    Raises:
        InputError: one is, which models of this task do not have.
    """
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError(
            f"--{given[0]} is not for a model to {judged.manifest.task.name}",
            where=judged.path,
            fix=f"leave out --{given[0]}",
        )
