"""`qdeploy bench --concurrency`: figures, failures that are counted, and the report of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.results import Load, Results, read_results
from tests.support.bundles import scripted_bundle
from tests.support.command import QuickCommand

ANSWER = "one two three four five six seven eight nine ten eleven twelve"
SHORT = ("--prompt", "8", "--new", "3", "--processes", "2")


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a long answer; tests must not change it."""
    return scripted_bundle(tmp_path_factory.mktemp("bench") / "talkative", answer=ANSWER).path


def loads_of(found: Results) -> list[Load]:
    rows = [row for row in found.results if isinstance(row, Load)]
    assert len(rows) == len(found.results)
    return rows


@pytest.mark.slow
def test_every_load_has_a_row_and_every_request_is_kept(
    talkative: Path, quick: QuickCommand, here: Path
) -> None:
    done = quick("bench", talkative, *SHORT, "--concurrency", "3,1", "--shared", "0.5",
                 "--goodput", "ttft:60000", "-o", "r.json", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    found = Results.model_validate(done.json)
    assert found == read_results(here / "r.json")
    one, three = loads_of(found)
    assert (one.concurrency, three.concurrency) == (1, 3)
    for row, requests in ((one, 8), (three, 12)):
        assert [s.process for s in row.samples].count(0) == requests
        assert len(row.samples) == 2 * requests
        assert {(s.prompt_tokens, s.new_tokens) for s in row.samples} == {(8, 3)}
        assert [p.inter_token_latencies.count for p in row.processes] == [2 * requests] * 2
        assert row.failed == 0
        assert row.serves == 1
        assert row.goodput_per_s == row.requests_per_s > 0
        assert row.output_tokens_per_s == pytest.approx(3 * row.requests_per_s)
        assert row.peak_memory_bytes
    done = quick("compare", "r.json", "r.json")
    assert done.code == 0, done.stderr
    for words in ("8+3 at 1", "8+3 at 3", "TTFT ms", "within noise"):
        assert words in done.stdout
    assert quick("report", "r.json", "-o", "report").code == 0
    page = (here / "report" / "index.html").read_text()
    assert "Throughput against time to first token" in page
    assert "Under load: made-up" in page


def test_text_says_what_was_done(talkative: Path, quick: QuickCommand) -> None:
    done = quick("bench", talkative, *SHORT, "--rate", "500", "--concurrency", "2",
                 "--requests", "9", "--goodput", "tpot:60000,ttft:0.000001")  # fmt: skip
    assert done.code == 0, done.stderr
    for words in ("500/s", " 18 ", "serves:        1 at once", "8 prompt and 3 new tokens",
                  "within tpot 60000 ms, ttft 1e-06 ms", "device"):  # fmt: skip
        assert words in done.stdout


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ({"vanish": 7}, 0, "failed:        3 requests of 8+3 at 2: the device is gone"),
        ({"vanish": 0}, 1, "failed:        8 requests of 8+3 at 2: the device is gone"),
    ],
    ids=["some", "all"],
)
def test_failures_are_counted_and_shown(
    script: dict[str, Any], code: int, says: str, quick: QuickCommand, here: Path
) -> None:
    """Two requests warm up; then eight are measured."""
    scripted_bundle(here / "frail", answer=ANSWER, **script)
    done = quick("bench", "frail", "--prompt", "8", "--new", "3", "--processes", "1",
                 "--concurrency", "2", "-o", "r.json")  # fmt: skip
    assert done.code == code, done.stderr
    assert says in done.stdout
    (row,) = loads_of(read_results(here / "r.json"))
    assert len(row.samples) + row.failed == 8
    if code:
        assert "all 8 requests of 8+3 at 2 failed: the device is gone" in done.stderr
        assert row.ttft_ms is None
        assert quick("report", "r.json", "-o", "report").code == 0
        assert quick("compare", "r.json", "r.json").code == 0


def test_a_crash_leaves_what_was_measured(quick: QuickCommand, here: Path) -> None:
    """After the warm-up and all eight requests of the first load, in the second's warm-up."""
    scripted_bundle(here / "frail", answer=ANSWER, die=10)
    done = quick("bench", "frail", "--prompt", "8", "--new", "3", "--processes", "1",
                 "--concurrency", "1,2", "-o", "r.json")  # fmt: skip
    assert done.code == 1
    assert "exited with code 7: the driver gives up" in done.stderr
    assert "kept in r.json" in done.stderr
    (row,) = loads_of(read_results(here / "r.json"))
    assert (row.concurrency, len(row.samples)) == (1, 8)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--concurrency", "1,many"], ["'many' is not a number of clients", "1,8,32"]),
        (["--concurrency", "2", "--goodput", "itl:5"], ["'itl:5' is not a limit", "ttft:500"]),
        (["--concurrency", "2", "--prompt", "8,16"], ["one mean length", "--vary"]),
        (["--concurrency", "2", "--prompt", "2040"], ["does not fit", "context is 2048"]),
        (["--concurrency", "2", "--peer"], ["--peer is of single requests"]),
        (["--concurrency", "2", "--runs", "2"], ["--runs is of single requests", "--requests"]),
        (["--shared", "0.5"], ["--shared is of a load", "--concurrency"]),
        (["--rate", "0"], ["--rate"]),
        (["--rate", "nan"], ["--rate"]),
        (["--concurrency", "2", "--vary", "1"], ["--vary"]),
    ],
    ids=lambda value: " ".join(value[:4]) if value and value[0].startswith("-") else "",
)  # fmt: skip
def test_bad_input(
    arguments: list[str], says: list[str], talkative: Path, quick: QuickCommand
) -> None:
    quick("bench", talkative, *arguments).fails(2, *says)
