"""`qdeploy eval`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.evaluate.reference import Reference
    from qdeploy.models import HeldOut
    from qdeploy.results import Eval

FOLDER = click.Path(path_type=Path)
HELDOUT = 48
"""Default number of questions for the embedded models: ten seconds on two cores."""


@click.command("eval")
@click.argument("bundle", type=FOLDER)
@click.argument("other", type=FOLDER, required=False)
@click.option("--reference", metavar="MODEL", help="The float checkpoint to compare with.")
@click.option("--adapter", type=FOLDER, metavar="DIR", help="The adapter merged into the bundle.")
@click.option("--allow-other-model", is_flag=True, help="Compare even with another model.")
@click.option("--text", "texts", multiple=True, metavar="FILE",
              help="UTF-8 text, or one that ships: prose, tasks. Repeatable.")  # fmt: skip
@click.option("--window", type=click.IntRange(min=2), metavar="N", help="Tokens of a passage.")
@click.option("--windows", type=click.IntRange(min=1), metavar="N",
              help="Most passages, evenly spaced in the text.")  # fmt: skip
@click.option("--heldout", type=click.IntRange(min=0), metavar="N",
              help="Held-out questions; default: 48 for embedded models, else none.")  # fmt: skip
@click.option("--max-kl", type=options.Finite(min=0, min_open=True), metavar="X",
              help="Most nats per token, in place of the profile's.")  # fmt: skip
@click.option("--min-top1", type=options.Finite(0, 1, min_open=True), metavar="X",
              help="Least agreement, in place of the profile's.")  # fmt: skip
@options.target
@options.device
@options.backend
@options.simulate
@options.context
@options.threads
@options.results_file
@options.as_json
def command(
    bundle: Path,
    other: Path | None,
    reference: str | None,
    adapter: Path | None,
    allow_other_model: bool,
    texts: tuple[str, ...],
    window: int | None,
    windows: int | None,
    heldout: int | None,
    max_kl: float | None,
    min_top1: float | None,
    target: str | None,
    device: str,
    backend: str | None,
    simulate: bool,
    context: int | None,
    threads: int | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Measure how far BUNDLE is from its float checkpoint, or OTHER from BUNDLE.

    Exit code 4 if a figure is over its profile's limit. Of two bundles, the first is the reference
    and runs on its own target; --target, --device and the like apply to the second.
    """
    if (other is None) == (reference is None):
        raise click.UsageError("give either --reference MODEL or a second bundle")
    if other and adapter:
        raise click.UsageError("--adapter goes with --reference")

    from qdeploy.bundle import open_bundle
    from qdeploy.cli.progress import CountProgress
    from qdeploy.deploy import run
    from qdeploy.evaluate.gate import code_difference, override_limits, pair_limits
    from qdeploy.evaluate.match import check_pair, open_reference
    from qdeploy.evaluate.measure import measure
    from qdeploy.evaluate.record import make_eval
    from qdeploy.evaluate.reference import BundleReference
    from qdeploy.evaluate.text import PROSE, TASKS, WINDOW, read_passages
    from qdeploy.models import EMBEDDED
    from qdeploy.results import collect_results
    from qdeploy.results.machine import describe_machine
    from qdeploy.tokenization.tokenizer import Tokenizer

    here = describe_machine()
    collection = collect_results(file, here) if file else None
    judged = open_bundle(other or bundle, full=True)
    embedded = judged.manifest.model.name in EMBEDDED
    tokenizer = Tokenizer(judged.path)
    names = texts or (PROSE, *([TASKS] if embedded else []))
    scored = [
        read_passages(name, tokenizer, window=window or WINDOW, windows=windows) for name in names
    ]
    questions = _questions(HELDOUT if heldout is None and embedded else heldout or 0)
    choice = run.choose(judged, target=target, backend=backend, device=device, simulate=simulate)
    limits, why = judged.manifest.profile.quality, None
    with ExitStack() as opened:
        progress = opened.enter_context(CountProgress(quiet=as_json))
        wanted: Reference
        if other:
            first = open_bundle(bundle, full=True)
            check_pair(first, judged, allow_other=allow_other_model)
            why = code_difference(first.manifest, judged.manifest)
            limits = pair_limits(why, experts=judged.manifest.model.experts > 0)
            session_a = opened.enter_context(run.load(first, run.choose(first)))
            wanted = BundleReference(first, session_a)
        else:
            wanted = open_reference(
                judged, reference or "", adapter=adapter, allow_other=allow_other_model
            )
        opened.enter_context(wanted)
        limits = override_limits(limits, {"max_kl_mean": max_kl, "min_top1": min_top1})
        session = opened.enter_context(run.load(judged, choice, context=context, threads=threads))
        against = {"kind": wanted.kind, "name": wanted.name, "digest": wanted.digest}
        if other:
            against["codes"] = "the same" if why is None else f"not the same: {why}"
        made = []
        for one in scored:
            asked = questions if one is scored[-1] else []  # once is enough
            measured = measure(session, tokenizer, wanted, one, asked, progress)
            made.append(make_eval(judged, choice, session, against, one, measured, limits))
    if as_json:
        output.write_json({"results": [m.model_dump(mode="json") for m in made]})
    else:
        for one_made in made:
            _show(one_made)
    if collection:
        collection.save(here, made)
    _check(made, judged)


def _questions(count: int) -> list[HeldOut]:
    from qdeploy import models
    from qdeploy.evaluate.text import spread_evenly

    return spread_evenly(models.heldout(), count) if count else []


def _show(made: Eval) -> None:
    artifact, environment, limits = made.artifact, made.environment, made.thresholds
    console = output.console()
    scheme = f"{artifact.profile} ({artifact.precision})"
    console.print(f"{artifact.model}, {scheme} against {made.reference['name']}", style="bold")
    table = output.table("figure", "value", "limit", right=("value", "limit"))
    for name, value, key in (
        ("KL divergence, mean (nats per token)", made.kl.mean, "max_kl_mean"),
        ("KL divergence, 99th percentile", made.kl.p99, ""),
        ("KL divergence, largest", made.kl.max, ""),
        ("top-1 agreement", made.top1_agreement, "min_top1"),
        ("perplexity", made.perplexity, ""),
        ("perplexity of the reference", made.reference_perplexity, ""),
        ("ratio", made.perplexity / made.reference_perplexity, "max_perplexity_ratio"),
        ("greedy tokens in common, median", made.first_divergence, ""),
        *((f"held-out, {m}, percent", v, "") for m, v in (made.exact_match or {}).items()),
    ):
        if value is not None:
            table.add_row(name, f"{value:.4g}", f"{limits[key]:g}" if key in limits else "")
    console.print(table)
    if codes := made.reference.get("codes"):
        console.print(f"codes:    {codes}")
    console.print(f"text:     {made.text['name']}, {made.text['tokens']} tokens scored")
    devices = ", ".join(environment.placement["devices"])
    where = f"{devices} ({environment.backend}, {environment.device})"
    console.print(f"evidence: {environment.evidence}, ran on {where}")


def _check(made: Sequence[Eval], judged: Bundle) -> None:
    """Fail if a figure of any text is over its limit.

    Raises:
        CheckFailed: one is.
    """
    from qdeploy.errors import CheckFailed

    over = [f"on {one.text['name']}, {failure}" for one in made for failure in one.failures]
    if over:
        raise CheckFailed(
            f"too far from {made[0].reference['name']}: {'; '.join(over)}",
            where=judged.path,
            fix="choose a profile that loses less (qdeploy profiles), or other limits",
        )
