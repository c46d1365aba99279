"""`qdeploy eval`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.deploy.run import Which
    from qdeploy.results import EncodingEval, Eval

FOLDER = click.Path(path_type=Path)


@click.command("eval")
@click.argument("bundle", type=FOLDER)
@click.argument("other", type=FOLDER, required=False)
@click.option("--reference", metavar="MODEL", help="The float checkpoint to compare with.")
@click.option("--adapter", type=FOLDER, metavar="DIR", help="The adapter merged into the bundle.")
@click.option("--allow-other-model", is_flag=True, help="Compare even with another model.")
@click.option("--text", "texts", multiple=True, metavar="FILE",
              help="UTF-8 text, or one that ships: prose, tasks, code, mathematics, json,"
              " multilingual; or all of these. Repeatable.")  # fmt: skip
@click.option("--window", type=click.IntRange(min=2), metavar="N", help="Tokens of a passage.")
@click.option("--windows", type=click.IntRange(min=1), metavar="N",
              help="Most passages, evenly spaced in the text.")  # fmt: skip
@click.option("--heldout", type=click.IntRange(min=0), metavar="N",
              help="Held-out questions; default: 48 for embedded models, else none.")  # fmt: skip
@click.option("--max-kl", type=options.Finite(min=0, min_open=True), metavar="X",
              help="Most nats per token, in place of the profile's.")  # fmt: skip
@click.option("--min-top1", type=options.Finite(0, 1, min_open=True), metavar="X",
              help="Least agreement, in place of the profile's.")  # fmt: skip
@click.option("--min-cosine", type=options.Finite(0, 1, min_open=True), metavar="X",
              help="Least cosine of an embedding, in place of the profile's.")  # fmt: skip
@options.target
@options.device
@options.endpoint
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
    min_cosine: float | None,
    target: str | None,
    device: Which,
    endpoint: str | None,
    endpoint_model: str | None,
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

    from qdeploy.cli.progress import CountProgress
    from qdeploy.evaluate.evaluation import evaluate
    from qdeploy.results import collect_results, make_results
    from qdeploy.results.machine import describe_machine

    here = describe_machine()
    collection = collect_results(file, here) if file else None
    with CountProgress(quiet=as_json) as progress:
        found = evaluate(
            bundle,
            other,
            reference=reference,
            adapter=adapter,
            allow_other_model=allow_other_model,
            texts=texts,
            window=window,
            windows=windows,
            heldout=heldout,
            max_kl=max_kl,
            min_top1=min_top1,
            min_cosine=min_cosine,
            target=target,
            device=options.at_endpoint(endpoint, endpoint_model, device, target),
            backend=backend,
            simulate=simulate,
            context=context,
            threads=threads,
            progress=progress,
        )
    made = found.results
    if as_json:
        output.write_json(make_results(here, made).model_dump(mode="json"))
    else:
        for one_made in made:
            _show(one_made)
        _show_kinds([one_made for one_made in made if one_made.kind == "eval"])
    if collection:
        collection.save(here, made)
    found.check()


Figures = Iterable[tuple[str, float | str | None, str]]
"""Name, value and the limit's key of each figure."""


def _show(made: Eval | EncodingEval) -> None:
    artifact, environment, limits = made.artifact, made.environment, made.thresholds
    console = output.console()
    scheme = f"{artifact.profile} ({artifact.weights})"
    console.print(f"{artifact.model}, {scheme} against {made.reference['name']}", style="bold")
    table = output.table("figure", "value", "limit", right=("value", "limit"))
    for name, value, key in _figures(made) if made.kind == "eval" else _encoding_figures(made):
        if value is not None:
            digits = 4 if made.kind == "eval" else 6  # cosines differ from one in later ones
            shown = value if isinstance(value, str) else f"{value:.{digits}g}"
            table.add_row(name, shown, f"{limits[key]:g}" if key in limits else "")
    console.print(table)
    if codes := made.reference.get("codes"):
        console.print(f"codes:    {codes}")
    console.print(f"text:     {_text(made.text)}")
    devices = ", ".join(environment.placement["devices"])
    where = f"{devices} ({environment.backend}, {environment.device})"
    console.print(f"evidence: {environment.evidence}, ran on {where}")


def _show_kinds(made: Sequence[Eval]) -> None:
    """Show the KL divergence of each text beside the others', the farthest first."""
    if len(made) < 2:
        return
    columns = ("text", "KL (95% interval)", "top-1", "gate")
    table = output.table(*columns, right=columns[1:3])
    for one in sorted(made, key=lambda one: -one.kl.mean):
        gate = "failed" if one.failures else "ok" if one.thresholds else ""
        table.add_row(str(one.text["name"]), output.kl(one.kl), f"{one.top1_agreement:.1%}", gate)
    output.console().print(table)


def _text(text: Mapping[str, str | int]) -> str:
    if "tokens" in text:
        return f"{text['name']}, {text['tokens']} tokens scored"
    return f"{text['name']}, {text['documents']} documents, {text['queries']} queries"


def _encoding_figures(made: EncodingEval) -> Figures:
    if made.cosine:
        yield "cosine to the reference, mean", made.cosine.mean, ""
        yield "cosine to the reference, smallest", made.cosine.min, "min_cosine"
    if made.score_difference:
        yield "difference of scores, mean", made.score_difference.mean, ""
        yield "difference of scores, largest", made.score_difference.max, "max_score_difference"
    yield "rank correlation (Spearman)", made.rank_correlation, ""
    yield "same first document", made.top1_agreement, ""


def _figures(made: Eval) -> Figures:
    yield "KL divergence, mean (nats per token)", output.kl(made.kl), "max_kl_mean"
    yield from (
        ("KL divergence, 99th percentile", made.kl.p99, ""),
        ("KL divergence, largest", made.kl.max, ""),
        ("top-1 agreement", made.top1_agreement, "min_top1"),
        ("perplexity", made.perplexity, ""),
        ("perplexity of the reference", made.reference_perplexity, ""),
        ("ratio", made.perplexity / made.reference_perplexity, "max_perplexity_ratio"),
        ("greedy tokens in common, median", made.first_divergence, ""),
        *((f"held-out, {m}, percent", v, "") for m, v in (made.exact_match or {}).items()),
    )
