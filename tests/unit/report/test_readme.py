"""The README's table is generated from the committed results and up to date."""

from __future__ import annotations

import pytest

from qdeploy.errors import InputError
from qdeploy.report.data.merged import read_result_files
from qdeploy.report.readme import BEGIN, END, readme_table, update_readme
from tests.support import shown
from tools.readme import README, RESULTS

TEXT = f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n"


def test_only_the_block_is_replaced() -> None:
    made = update_readme(TEXT, shown.two_machines())
    head, _, rest = made.partition(f"{BEGIN}\n")
    table, _, tail = rest.partition(f"\n{END}")
    assert (head, tail) == ("# Title\n\n", "\n\nafter\n")
    assert table == readme_table(shown.two_machines())
    assert update_readme(made, shown.two_machines()) == made


def test_every_row_names_its_target_and_evidence() -> None:
    heading, rule, *rows = readme_table(shown.two_machines()).splitlines()
    assert heading.startswith("| target | evidence | device | model | profile |")
    assert set(rule) <= set("|-: ")
    assert len(rows) == 8
    for row in rows:
        evidence = row.split("|")[2].strip()
        assert evidence in ("**device**", "**simulated**", "**none**")
        assert row.count("|") == heading.count("|")


@pytest.mark.parametrize(
    "text",
    ["", BEGIN, f"{END}{BEGIN}", f"{TEXT}{TEXT}", f"{TEXT}{BEGIN}"],
)
def test_marks_that_are_missing_or_repeated(text: str) -> None:
    with pytest.raises(InputError, match="no single block"):
        update_readme(text, shown.two_machines())


def test_the_readme_is_current() -> None:
    if not any(RESULTS.glob("*.json")):
        pytest.skip("no results are committed in docs/results")
    text = README.read_text(encoding="utf-8")
    current = update_readme(text, read_result_files([RESULTS]))
    assert text == current, "python -m tools.readme rewrites the table"
