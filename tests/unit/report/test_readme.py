"""The README's table: from the committed results, and current."""

from __future__ import annotations

import pytest

from qdeploy.errors import InputError
from qdeploy.report import readme
from qdeploy.report.data import merged
from tests.support import shown
from tools.readme import README, RESULTS

TEXT = f"# Title\n\n{readme.BEGIN}\nold\n{readme.END}\n\nafter\n"


def test_the_block_is_replaced_and_nothing_else() -> None:
    made = readme.updated(TEXT, shown.two_machines())
    head, _, rest = made.partition(f"{readme.BEGIN}\n")
    table, _, tail = rest.partition(f"\n{readme.END}")
    assert (head, tail) == ("# Title\n\n", "\n\nafter\n")
    assert table == readme.block(shown.two_machines())
    assert readme.updated(made, shown.two_machines()) == made


def test_every_row_names_its_target_and_evidence() -> None:
    heading, rule, *rows = readme.block(shown.two_machines()).splitlines()
    assert heading.startswith("| target | evidence | device | model | profile |")
    assert set(rule) <= set("|-: ")
    assert len(rows) == 8
    for row in rows:
        evidence = row.split("|")[2].strip()
        assert evidence in ("**device**", "**simulated**", "**none**")
        assert row.count("|") == heading.count("|")


@pytest.mark.parametrize(
    "text",
    ["", readme.BEGIN, f"{readme.END}{readme.BEGIN}", f"{TEXT}{TEXT}", f"{TEXT}{readme.BEGIN}"],
)
def test_marks_that_are_not_there_once_each(text: str) -> None:
    with pytest.raises(InputError, match="no single block"):
        readme.updated(text, shown.two_machines())


def test_the_readme_is_current() -> None:
    if not any(RESULTS.glob("*.json")):
        pytest.skip("no results are committed in docs/results")
    text = README.read_text(encoding="utf-8")
    current = readme.updated(text, merged.read([RESULTS]))
    assert text == current, "python -m tools.readme rewrites the table"
