"""`qdeploy compare`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qdeploy.bench.compare import Comparison, Finding
    from qdeploy.bench.pairing import Measured, Pair
    from qdeploy.evaluate.change import Change
    from qdeploy.results import Eval


@click.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--threshold", type=options.Finite(0, 100, max_open=True), default=5.0,
              show_default=True, metavar="P", help="Percent by which B may be worse.")  # fmt: skip
@click.option("--across", is_flag=True,
              help="Compare even where protocol, model or target differ.")  # fmt: skip
@options.as_json
def command(a: Path, b: Path, threshold: float, across: bool, as_json: bool) -> None:
    """Tell whether results B are worse than results A; exit 4 if so.

    A and B are files that qdeploy bench or eval wrote. A difference counts as a regression if its
    95% interval lies wholly beyond the threshold. Of quality, the KL divergence of each text is
    compared, over the same passages.
    """
    from qdeploy.bench.compare import compare
    from qdeploy.errors import CheckFailed

    comparison = compare(a, b, threshold=threshold, across=across)
    if as_json:
        output.write_json(_as_dict(comparison, threshold))
    else:
        _show(comparison, a, b)
    worse = [
        f"{finding.measure.title} {_change(finding.ratio)} at {pair.title}"
        for pair, finding in comparison.regressions()
    ]
    worse += [f"KL {_kl_change(p, c)} at {p.title}" for p, c in comparison.worse_quality()]
    if worse:
        raise CheckFailed(f"a regression of more than {threshold:g}%: {'; '.join(worse)}", where=b)


def _show(comparison: Comparison, a: Path, b: Path) -> None:
    console = output.console()
    pairing = comparison.pairing
    numbers = ("A", "±", "B", "± ", "change")
    for pair, findings in zip(pairing.pairs, comparison.findings, strict=True):
        table = output.table(
            "measure", *numbers, "95% interval", "verdict", right=(*numbers, "95% interval")
        )
        for found in findings:
            table.add_row(
                found.measure.title,
                _value(found, found.a),
                f"{100 * found.a_spread:.1f}%",
                _value(found, found.b),
                f"{100 * found.b_spread:.1f}%",
                _change(found.ratio),
                " to ".join(map(_change, found.interval or ())),
                found.verdict,
            )
        console.print(f"{pair.title} · evidence {_evidence(pair)}", style="bold")
        console.print(table)
        for note in _notes(pair):
            console.print(note)
    _show_quality(comparison)
    spread = "; medians, and the quartiles' distance as ±" if pairing.pairs else ""
    console.print(f"A is {a}, B is {b}{spread}")
    for difference in comparison.differences:
        console.print(f"compared across {difference}")
    both = comparison.pairing, comparison.quality
    for name, rows in (("A", [p.only_a for p in both]), ("B", [p.only_b for p in both])):
        for row in chain(*rows):
            console.print(f"only in {name}: {row}")


METHODS = {
    "paired": "over the same passages", "intervals": "from both intervals", "none": "",
}  # fmt: skip


def _show_quality(comparison: Comparison) -> None:
    """Show a table of texts for each configuration."""
    console = output.console()
    numbers = ("A", "B", "change", "B - A")
    rows = zip(comparison.quality.pairs, comparison.changes, strict=True)
    tables: dict[str, list[tuple[Pair[Eval], Change]]] = {}
    for pair, change in rows:
        tables.setdefault(f"{pair.configuration} · evidence {_evidence(pair)}", []).append(
            (pair, change)
        )
    for title, found in tables.items():
        table = output.table("KL, nats per token", *numbers, "", "verdict", right=numbers)
        for pair, change in found:
            table.add_row(
                pair.a.point,
                output.kl(pair.a.kl),
                output.kl(pair.b.kl),
                _kl_change(pair, change),
                output.figure(change.difference) + output.interval(change.interval),
                METHODS[change.method],
                change.verdict,
            )
        console.print(title, style="bold")
        console.print(table)
        for note in _common_notes(pair for pair, _ in found):
            console.print(note)


def _common_notes(pairs: Iterable[Pair[Eval]]) -> list[str]:
    return list(dict.fromkeys(note for pair in pairs for note in _notes(pair)))


def _kl_change(pair: Pair[Eval], change: Change) -> str:
    return f"{100 * change.difference / pair.a.kl.mean:+.1f}%" if pair.a.kl.mean else ""


def _notes(pair: Pair[Measured] | Pair[Eval]) -> list[str]:
    """Return what else differs between the two, which may be the reason."""
    one, other = pair.a, pair.b
    notes = []
    for name, x, y in (
        ("device", one.environment.device, other.environment.device),
        ("driver", one.environment.driver, other.environment.driver),
        ("versions", one.environment.versions, other.environment.versions),
        ("properties", one.environment.properties, other.environment.properties),
        ("bundle", one.artifact.bundle_digest[:12], other.artifact.bundle_digest[:12]),
        ("linear weights", one.artifact.weights, other.artifact.weights),
    ):
        if x != y:
            notes.append(f"{name}: {x} in A, {y} in B")
    for label, row in (("A", one), ("B", other)):
        if row.kind != "eval" and row.interrupted:
            notes.append(f"{label} is incomplete: {row.interrupted}")
    return notes


def _evidence(pair: Pair[Measured] | Pair[Eval]) -> str:
    both = dict.fromkeys((str(pair.a.environment.evidence), str(pair.b.environment.evidence)))
    return " and ".join(both)


def _value(found: Finding, value: float) -> str:
    return output.size(value) if found.measure.name.endswith("bytes") else f"{value:.1f}"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}%"


def _as_dict(comparison: Comparison, threshold: float) -> dict[str, Any]:
    pairing, quality = comparison.pairing, comparison.quality
    rows = zip(pairing.pairs, comparison.findings, strict=True)
    evals = zip(quality.pairs, comparison.changes, strict=True)
    return {
        "threshold_percent": threshold,
        "regressions": len(comparison.regressions()) + len(comparison.worse_quality()),
        "differences": list(comparison.differences),
        "pairs": [_pair(pair, findings) for pair, findings in rows],
        "quality": [_eval_pair(pair, change) for pair, change in evals],
        "only_a": [*pairing.only_a, *quality.only_a],
        "only_b": [*pairing.only_b, *quality.only_b],
    }


def _sides(pair: Pair[Measured] | Pair[Eval]) -> dict[str, Any]:
    from qdeploy.bench.pairing import row_identity

    return {
        name: {
            **row_identity(row),
            "calibrated": row.artifact.calibrated,
            "device": row.environment.device,
            "evidence": str(row.environment.evidence),
        }
        for name, row in (("a", pair.a), ("b", pair.b))
    }


def _eval_pair(pair: Pair[Eval], change: Change) -> dict[str, Any]:
    low, high = change.interval or (None, None)
    return {
        **_sides(pair),
        "text": pair.a.text,
        "reference": pair.a.reference,
        "notes": _notes(pair),
        "kl": {
            "a": pair.a.kl.mean,
            "b": pair.b.kl.mean,
            "a_interval": pair.a.kl.interval,
            "b_interval": pair.b.kl.interval,
            "difference": change.difference,
            "low": low,
            "high": high,
            "method": change.method,
            "verdict": change.verdict,
        },
    }


def _pair(pair: Pair[Measured], findings: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        **_sides(pair),
        "point": pair.a.point,
        "prompt_tokens": pair.a.prompt_tokens,
        "new_tokens": pair.a.new_tokens,
        "notes": _notes(pair),
        "measures": {f.measure.name: _finding(f) for f in findings},
    }


def _finding(found: Finding) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    names = ("a", "b", "a_spread", "b_spread", "ratio", "verdict")
    return {name: getattr(found, name) for name in names} | {"low": low, "high": high}
