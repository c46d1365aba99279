"""`qdeploy bench`: figures, files, and failures of a device."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from qdeploy.results import Bench, Results, make_results, read_results, write_results
from qdeploy.results.machine import describe_machine
from qdeploy.system.threads import usable_threads
from tests.support import shown
from tests.support.bundles import scripted_bundle
from tests.support.command import Command, QuickCommand
from tests.support.real import qdeploy as real_qdeploy
from tests.support.scripted import WEIGHTS

ANSWER = "one two three four five six seven eight nine ten eleven twelve"
SHORT = ("--prompt", "8,4", "--new", "3", "--runs", "2", "--processes", "1")
RUNS = 4
"""Measured runs of `SHORT`, after a warm-up at each of its two points."""


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a long answer; tests must not change it."""
    return scripted_bundle(tmp_path_factory.mktemp("bench") / "talkative", answer=ANSWER).path


def rows_of(found: Results) -> list[Bench]:
    rows = [row for row in found.results if isinstance(row, Bench)]
    assert len(rows) == len(found.results)
    return rows


def test_json_is_a_file_of_results(talkative: Path, quick: QuickCommand, here: Path) -> None:
    done = quick("bench", talkative, *SHORT, "--machine", "mine", "-o", "r.json", "--json")
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    found = Results.model_validate(done.json)
    assert found == read_results(here / "r.json")
    assert found.machine.name == "mine"
    assert found.machine.bandwidth_bytes_per_s
    rows = rows_of(found)
    assert [(r.prompt_tokens, r.new_tokens) for r in rows] == [(4, 3), (8, 3)]
    for row in rows:
        assert [len(s.inter_token_latencies_ms) for s in row.samples] == [2, 2]
        assert row.protocol_hash == rows[0].protocol_hash
        assert row.environment.evidence == "device"
        assert row.environment.placement["proof"] == "it was written down"
        assert row.load_cold_s is not None
        assert row.load_warm_s is not None
        assert row.peak_memory_bytes
        assert row.energy_source
        assert row.interrupted is None
        assert len(row.processes) == 1


def test_text_has_a_table_a_bundle_and_evidence_in_every_row(
    talkative: Path, bundle: Path, quick: QuickCommand, here: Path
) -> None:
    done = quick("bench", talkative, bundle, "--prompt", "4", "--new", "2,3", "--runs", "1",
                 "--processes", "1")  # fmt: skip
    assert done.code == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if "tok/s" in line and "evidence" in line]
    rows = [line for line in done.stdout.splitlines() if line.rstrip().endswith("device")]
    assert (len(tables), len(rows)) == (2, 4)
    for says in (str(talkative), "load:", "energy:", "placement:", "machine:", "protocol:"):
        assert says in done.stdout
    assert list(here.iterdir()) == [bundle]


def test_results_of_other_kinds_stay_in_the_file(
    talkative: Path, quick: QuickCommand, here: Path
) -> None:
    file = here / "all.json"
    write_results(make_results(describe_machine("bench 4"), [shown.evaluation()]), file)
    for _ in range(2):
        result = quick("bench", talkative, *SHORT, "-o", "all.json")
        assert result.code == 0, result.stderr
    found = read_results(file)
    assert [row.kind for row in found.results] == ["eval", "bench", "bench"]
    assert found.machine.name == "bench 4"


def test_a_simulated_device_says_so(talkative: Path, quick: QuickCommand) -> None:
    done = quick("bench", talkative, *SHORT, "--simulate", "--json")
    assert [r.environment.evidence.value for r in rows_of(Results.model_validate(done.json))] == [
        "simulated", "simulated",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "says"),
    [({"vanish": 2}, "the device is gone"), ({"die": 2}, "exited with code 7: the driver gives")],
    ids=["an error", "a crash"],
)
def test_a_device_that_vanishes_leaves_what_was_measured(
    script: dict[str, Any], says: str, quick: QuickCommand, here: Path
) -> None:
    """After the warm-up and one run of the first point."""
    scripted_bundle(here / "frail", answer=ANSWER, **script)
    done = quick("bench", "frail", *SHORT, "-o", "r.json")
    assert done.code == 1
    assert says in done.stderr
    assert f"kept in r.json: 1 of {RUNS} runs" in done.stderr
    assert "incomplete:" in done.stdout
    (row,) = rows_of(read_results(here / "r.json"))
    assert len(row.samples) == 1
    assert row.interrupted is not None
    assert says in row.interrupted


def test_a_device_that_vanishes_with_json(quick: QuickCommand, here: Path) -> None:
    scripted_bundle(here / "frail", answer=ANSWER, vanish=2)
    done = quick("bench", "frail", *SHORT, "--json")
    assert done.code == 1
    assert f"kept above: 1 of {RUNS} runs" in done.stderr
    assert len(done.json["results"]) == 1
    assert quick.reports(done) == 1


def test_a_device_that_vanishes_at_once_leaves_nothing(quick: QuickCommand, here: Path) -> None:
    scripted_bundle(here / "frail", answer=ANSWER, vanish=0)
    quick("bench", "frail", *SHORT, "-o", "r.json").fails(1, "SCRIPT: the device is gone", "plug")
    assert not (here / "r.json").exists()


def test_a_runtime_that_stops_by_itself_is_not_measured(quick: QuickCommand, here: Path) -> None:
    scripted_bundle(here / "terse", answer="one")
    quick("bench", "terse", *SHORT, "--new", "50").fails(1, "of 50 tokens, with nothing to stop it")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", ""], ["--prompt: the grid is empty", "--prompt 128,512"]),
        (["--prompt", "4,many"], ["--prompt: 'many' is not a number of tokens"]),
        (["--new", "1"], ["--new: '1' is not a number of tokens", "from 2 up"]),
        (["--new", "-3"], ["--new: '-3' is not"]),
        (["--prompt", "2000", "--new", "49"],
         ["2000 prompt and 49 new tokens do not fit", "context is 2048", "--context"]),
        (["--runs", "0"], ["--runs"]),
        (["--peer"], ["no library is known", "leave out --peer"]),
        (["--peer", "--simulate"], ["a peer cannot run on a simulated device"]),
        (["--peer", "--devices", "0,1"], ["a peer runs on one device", "--devices"]),
        (["--backend", "scribted"], ["did you mean 'scripted'?"]),
        (["--device", "7"], ["there is no device 7"]),
        (["--devices", "0,1"], ["a model runs on one device with 'scripted'", "--device"]),
        (["-o", "bundle/qdeploy.json"], ["output exists and cannot be added to", "-o FILE"]),
        (["-o", "bundle/qdeploy.json/r.json"], ["cannot be written"]),
    ],
    ids=lambda value: " ".join(value[:4]) if value and value[0].startswith("-") else "",
)  # fmt: skip
def test_bad_input(
    arguments: list[str], says: list[str], bundle: Path, quick: QuickCommand
) -> None:
    quick("bench", bundle, *arguments).fails(2, *says)


def test_no_bundle_at_all(quick: QuickCommand) -> None:
    quick("bench").fails(2, "BUNDLES")
    quick("bench", "nowhere").fails(2, "no such bundle directory")


def test_a_target_that_is_absent(quick: QuickCommand, here: Path) -> None:
    made = scripted_bundle(here / "bundle").path
    manifest = json.loads((made / "qdeploy.json").read_text())
    manifest["target"] = "unscripted"
    (made / "qdeploy.json").write_text(json.dumps(manifest))
    quick("bench", made).fails(3, "its script is missing")


def test_a_bundle_that_fails_verify(bundle: Path, quick: QuickCommand) -> None:
    (bundle / WEIGHTS).write_bytes(b"half and hale")
    quick("bench", bundle).fails(4, "corrupted bundle", WEIGHTS)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_ctrl_c_keeps_what_was_measured_and_leaves_no_worker(qdeploy: Command, here: Path) -> None:
    scripted_bundle(here / "slow", answer=ANSWER, delay=0.2)
    arguments = ("--prompt", "4", "--new", "3", "--runs", "1", "--processes", "50")
    running = qdeploy.start("bench", "slow", *arguments, "-o", "r.json")
    try:
        wait_for(here / "r.json")
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 130
    finally:
        running.kill()
        running.communicate()
    (row,) = rows_of(read_results(here / "r.json"))
    assert row.interrupted == "stopped by the user"
    left = subprocess.run(["pgrep", "-f", str(here)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.mark.slow
def test_a_bundle_that_is_replaced_during_the_benchmark_is_not_measured(
    qdeploy: Command, here: Path
) -> None:
    scripted_bundle(here / "it", answer=ANSWER, delay=0.2)
    scripted_bundle(here / "other", answer=ANSWER)
    arguments = ("--prompt", "4", "--new", "3", "--runs", "1", "--processes", "50")
    running = qdeploy.start("bench", "it", *arguments, "-o", "r.json")
    try:
        wait_for(here / "r.json")
        (here / "it").rename(here / "old")
        (here / "other").rename(here / "it")
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 1
    assert "the bundle was replaced while it was being measured" in said
    (row,) = rows_of(read_results(here / "r.json"))
    assert row.interrupted == "the bundle was replaced while it was being measured"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "device", "runtime"),
    [
        ("openvino", "CPU", "openvino-genai"),
        ("onnxruntime", "CPUExecutionProvider", "onnxruntime-genai"),
    ],
)
def test_for_real_with_the_peer_taking_turns(
    backend: str, device: str, runtime: str, tmp_path: Path
) -> None:
    pytest.importorskip(runtime.replace("-", "_"))
    bundle, file = str(tmp_path / "nano"), str(tmp_path / "r.json")
    where = ("--target", "cpu", "--backend", backend)
    made = real_qdeploy("export", "qwen3-nano", *where, "-o", bundle)
    assert made.returncode == 0, made.stderr
    done = real_qdeploy("bench", bundle, "--prompt", "16", "--new", "8", "--runs", "1",
                        "--processes", "2", "--peer", "-o", file)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "decode / peer" in done.stdout
    (row,) = rows_of(read_results(Path(file)))
    assert row.environment.evidence == "device"
    assert row.environment.placement["devices"] == [device]
    assert row.environment.placement["threads"] == usable_threads()
    assert row.environment.versions[runtime]
    assert "unknown" not in row.environment.versions.values()
    assert row.memory_bandwidth_utilization is not None
    assert row.peer is not None
    assert row.peer.startswith(runtime)
    assert row.peer.endswith(f", {usable_threads()} thread{'s' if usable_threads() > 1 else ''}")
    assert len(row.samples) == len(row.peer_samples) == 2
    assert row.ratio is not None
    assert row.ratio["decode_low"] <= row.ratio["decode"] <= row.ratio["decode_high"]
    assert real_qdeploy("compare", file, file).returncode == 0
