"""`qdeploy compare`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import QuickCommand
from tests.support.measured import STEADY, row, write

ITL = "inter_token_latencies_ms"
SLOWER = tuple(tuple(1.2 * ms for ms in process) for process in STEADY)


@pytest.fixture
def a(here: Path) -> Path:
    return write(here / "a.json", row())


def test_the_same_is_within_noise(a: Path, quick: QuickCommand) -> None:
    done = quick("compare", a, a)
    assert done.code == 0, done.stderr
    assert done.stdout.count("within noise") == 3
    assert "evidence device" in done.stdout
    assert done.stderr == ""


def test_a_regression_is_exit_code_4_and_named(a: Path, here: Path, quick: QuickCommand) -> None:
    write(here / "b.json", row(SLOWER))
    done = quick("compare", "a.json", "b.json")
    assert done.code == 4
    assert "regression" in done.stdout
    assert "b.json: a regression of more than 5%: decode tok/s -16.7% at made-up" in done.stderr
    assert quick("compare", "a.json", "b.json", "--threshold", "20").code == 0
    assert quick("compare", "b.json", "a.json").code == 0


def test_json_is_one_object_even_then(a: Path, here: Path, quick: QuickCommand) -> None:
    write(here / "b.json", row(SLOWER))
    done = quick("compare", "a.json", "b.json", "--json")
    assert done.code == 4
    assert done.json["regressions"] == 1
    (pair,) = done.json["pairs"]
    found = pair["measures"]["decode_tokens_per_s"]
    assert found["verdict"] == "regression"
    assert found["low"] <= found["ratio"] <= found["high"] < 0.95
    assert pair["a"]["evidence"] == "device"


def test_other_differences_are_possible_reasons(a: Path, here: Path, quick: QuickCommand) -> None:
    write(
        here / "b.json",
        row(environment={"driver": "2.0"}, interrupted="the device is gone"),
        row(point=(8, 64)),
    )
    done = quick("compare", "a.json", "b.json")
    assert "driver: None in A, 2.0 in B" in done.stdout
    assert "B is incomplete: the device is gone" in done.stdout
    assert "only in B: made-up · here · scripted · here-int4 · 8+64" in done.stdout


def test_other_models_only_on_request(a: Path, here: Path, quick: QuickCommand) -> None:
    write(here / "b.json", row(artifact={"model": "another"}))
    quick("compare", "a.json", "b.json").fails(2, "model: made-up and another", "--across")
    done = quick("compare", "a.json", "b.json", "--across")
    assert done.code == 0
    assert "compared across model: made-up and another" in done.stdout
    assert "made-up | another" in done.stdout


def test_bad_input(a: Path, here: Path, quick: QuickCommand) -> None:
    quick("compare", "a.json", "nowhere.json").fails(2, "nowhere.json", "missing")
    quick("compare", "a.json").fails(2, "'B'")
    quick("compare", "a.json", "a.json", "--threshold", "-1").fails(2, "--threshold")
    write(here / "b.json", row(point=(8, 64)))
    quick("compare", "a.json", "b.json").fails(2, "nothing in common", "128+64", "8+64", "--prompt")
    write(here / "empty.json")
    quick("compare", "a.json", "empty.json").fails(2, "empty.json", "no benchmark")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 99}, ["schema version 99", "pip install --upgrade"]),
        ({"schema_version": "x"}, ["not a file of results: schema_version"]),
        ({"results": [{"kind": "guess"}]}, ["not a file of results: results.0"]),
        ({"machine": None}, ["not a file of results: machine"]),
    ],
    ids=str,
)
def test_a_file_of_another_schema(
    change: dict[str, object], says: list[str], a: Path, here: Path, quick: QuickCommand
) -> None:
    (here / "b.json").write_text(json.dumps(json.loads(a.read_text()) | change))
    quick("compare", "a.json", "b.json").fails(2, "b.json", *says)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"samples": []}, "samples"),
        ({"samples": [{"process": 0, "ttft_ms": 1, ITL: []}]}, f"samples.0.{ITL}"),
        ({"samples": [{"process": 0, "ttft_ms": 1, ITL: [0, 0]}]}, f"samples.0.{ITL}"),
        ({"samples": [{"process": 0, "ttft_ms": 0, ITL: [1]}]}, "samples.0.ttft_ms"),
        ({"processes": [{"load_warm_s": 1, "peak_memory_bytes": 0}]}, "peak_memory_bytes"),
        ({"decode_tokens_per_s": -5}, "decode_tokens_per_s"),
        ({"prefill_tokens_per_s": float("nan")}, "prefill_tokens_per_s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_numbers_that_cannot_be_measured(
    change: dict[str, object], key: str, a: Path, here: Path, quick: QuickCommand
) -> None:
    content = json.loads(a.read_text())
    content["results"][0] |= change
    (here / "b.json").write_text(json.dumps(content))
    quick("compare", "a.json", "b.json").fails(2, "not a file of results", key)


def test_a_name_that_is_no_text(a: Path, here: Path, quick: QuickCommand) -> None:
    content = json.loads(a.read_text())
    content["results"][0]["artifact"]["model"] = "\ud800"
    (here / "b.json").write_text(json.dumps(content))
    quick("compare", "a.json", "b.json").fails(2, "b.json", "not valid JSON")
