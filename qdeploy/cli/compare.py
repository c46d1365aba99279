"""`qdeploy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.bench.compare import Comparison, Finding
    from qdeploy.bench.pairing import Pair


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

    A and B are files that qdeploy bench wrote. A difference counts as a regression if its 95%
    interval lies wholly beyond the threshold.
    """
    from qdeploy.bench.compare import compare
    from qdeploy.errors import CheckFailed

    comparison = compare(a, b, threshold=threshold, across=across)
    if as_json:
        output.write_json(_as_dict(comparison, threshold))
    else:
        _show(comparison, a, b)
    if found := comparison.regressions():
        listing = "; ".join(
            f"{finding.measure.title} {_change(finding.ratio)} at {pair.title}"
            for pair, finding in found
        )
        raise CheckFailed(f"a regression of more than {threshold:g}%: {listing}", where=b)


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
    console.print(f"A is {a}, B is {b}; medians, and the quartiles' distance as ±")
    for difference in pairing.differences:
        console.print(f"compared across {difference}")
    for name, rows in (("A", pairing.only_a), ("B", pairing.only_b)):
        for row in rows:
            console.print(f"only in {name}: {row}")


def _notes(pair: Pair) -> list[str]:
    """Return what else differs between the two, which may be the reason."""
    one, other = pair.a, pair.b
    notes = []
    for name, x, y in (
        ("device", one.environment.device, other.environment.device),
        ("driver", one.environment.driver, other.environment.driver),
        ("versions", one.environment.versions, other.environment.versions),
        ("properties", one.environment.properties, other.environment.properties),
        ("bundle", one.artifact.bundle_digest[:12], other.artifact.bundle_digest[:12]),
    ):
        if x != y:
            notes.append(f"{name}: {x} in A, {y} in B")
    for label, row in (("A", one), ("B", other)):
        if row.interrupted:
            notes.append(f"{label} is incomplete: {row.interrupted}")
    return notes


def _evidence(pair: Pair) -> str:
    both = dict.fromkeys((str(pair.a.environment.evidence), str(pair.b.environment.evidence)))
    return " and ".join(both)


def _value(found: Finding, value: float) -> str:
    return output.size(value) if found.measure.name.endswith("bytes") else f"{value:.1f}"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}%"


def _as_dict(comparison: Comparison, threshold: float) -> dict[str, Any]:
    pairing = comparison.pairing
    rows = zip(pairing.pairs, comparison.findings, strict=True)
    return {
        "threshold_percent": threshold,
        "regressions": len(comparison.regressions()),
        "differences": list(pairing.differences),
        "pairs": [_pair(pair, findings) for pair, findings in rows],
        "only_a": list(pairing.only_a),
        "only_b": list(pairing.only_b),
    }


def _pair(pair: Pair, findings: tuple[Finding, ...]) -> dict[str, Any]:
    from qdeploy.bench.pairing import row_identity

    sides = {
        name: row_identity(row)
        | {"device": row.environment.device, "evidence": str(row.environment.evidence)}
        for name, row in (("a", pair.a), ("b", pair.b))
    }
    return {
        **sides,
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
