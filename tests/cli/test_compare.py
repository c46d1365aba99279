"""`qdeploy compare`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.results import Eval
from tests.support import shown
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
    assert "KL" not in done.stdout
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


CALIBRATED = shown.artifact(calibrated=True)
HARD = (0.01, 0.10, 0.03, 0.05, 0.02, 0.08, 0.015, 0.09)
"""Mean KL divergences of passages that differ tenfold."""
NEARER = tuple(0.8 * kl for kl in HARD)


def test_calibration_is_judged_by_the_same_passages(here: Path, quick: QuickCommand) -> None:
    write(here / "a.json", shown.evaluation(kl=shown.divergence(*HARD)))
    write(here / "b.json", shown.evaluation(of=CALIBRATED, kl=shown.divergence(*NEARER)))
    done = quick("compare", "a.json", "b.json")
    assert done.code == 0, done.stderr
    for words in ("0.0494 (0.02", "over the same passages", "better", "-20.0%", "-0.0098"):
        assert words in done.stdout
    assert "linear weights: int4 asym g128 in A, int4 asym g128 (calibrated) in B" in done.stdout
    done = quick("compare", "b.json", "a.json", "--json")
    assert done.code == 4
    assert "KL +25.0% at qwen3-made-up" in done.stderr
    assert done.json["regressions"] == 1
    (pair,) = done.json["quality"]
    assert (pair["a"]["calibrated"], pair["b"]["calibrated"]) == (True, False)
    assert 0 < pair["kl"]["low"] <= pair["kl"]["difference"] <= pair["kl"]["high"]
    assert pair["kl"]["method"] == "paired"
    assert quick("compare", "b.json", "a.json", "--threshold", "50").code == 0


def test_each_text_has_its_own_verdict(here: Path, quick: QuickCommand) -> None:
    def of(name: str, *kl: float, **changes: Any) -> Eval:
        text = {"name": name, "sha256": name * 4, "tokens": 2040}
        return shown.evaluation(text=text, kl=shown.divergence(*kl), **changes)

    write(here / "a.json", of("prose", *HARD), of("code", *HARD), of("json", *HARD))
    write(here / "b.json", of("prose", *NEARER, of=CALIBRATED), of("code", *HARD, of=CALIBRATED))
    done = quick("compare", "a.json", "b.json", "--json")
    verdicts = {p["text"]["name"]: p["kl"]["verdict"] for p in done.json["quality"]}
    assert verdicts == {"prose": "better", "code": "within noise"}
    (alone,) = done.json["only_a"]
    assert "json (2040 tokens) against qwen3-made-up" in alone


def test_without_an_interval_nothing_is_claimed(here: Path, quick: QuickCommand) -> None:
    write(here / "a.json", shown.evaluation(0.01))
    write(here / "b.json", shown.evaluation(0.9))
    done = quick("compare", "a.json", "b.json")
    assert done.code == 0
    assert "no interval" in done.stdout


def test_data_free_and_calibrated_of_both_files_are_paired_each(
    here: Path, quick: QuickCommand
) -> None:
    both = shown.evaluation(0.02), shown.evaluation(0.01, of=CALIBRATED)
    write(here / "a.json", *both)
    found = quick("compare", "a.json", "a.json", "--json").json["quality"]
    assert [(p["a"]["calibrated"], p["b"]["calibrated"]) for p in found] == [
        (False, False), (True, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": {"name": "shipped", "sha256": "01" * 32, "tokens": 4096}}, "text shipped"),
        ({"reference": {"name": "qwen3-made-up", "digest": "01" * 32}}, "reference: digests"),
    ],
    ids=["text", "reference"],
)
def test_another_text_or_reference_only_on_request(
    changes: dict[str, Any], says: str, here: Path, quick: QuickCommand
) -> None:
    write(here / "a.json", shown.evaluation(kl=shown.divergence(*HARD)))
    write(here / "b.json", shown.evaluation(kl=shown.divergence(*NEARER), **changes))
    quick("compare", "a.json", "b.json").fails(2, says, "--across")
    done = quick("compare", "a.json", "b.json", "--across")
    assert done.code == 0
    assert f"compared across {says}" in done.stdout


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
