"""Rows of results from the events of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.bench import parent
from qdeploy.bench.protocol import Protocol
from qdeploy.bench.rows import BundleRecord, make_rows, ratios
from qdeploy.bench.worker import Task
from qdeploy.results import Machine, Sample
from qdeploy.system import info
from tests.support.bundles import scripted_bundle
from tests.support.measured import MACHINE

PROTOCOL = Protocol((4, 8), (3,), runs=1, processes=2)
ENVIRONMENT: dict[str, Any] = {
    "kind": "cpu", "target": "here", "backend": "scripted", "device": "a script",
    "evidence": "device", "driver": None, "placement": {}, "versions": {}, "properties": {},
}  # fmt: skip
FAST = MACHINE.model_copy(update={"bandwidth_bytes_per_s": 1e9})


def sample(process: int, ttft_ms: float, *inter_token_latencies_ms: float) -> Sample:
    return Sample(
        process=process, ttft_ms=ttft_ms, inter_token_latencies_ms=inter_token_latencies_ms
    )


def point(index: int, **facts: Any) -> dict[str, Any]:
    """The event of a worker at the end of a grid point."""
    known = dict.fromkeys(
        ("peak_memory_bytes", "device_peak_memory_bytes", "energy_joules", "threads",
         "load_average", "cpu_steal")
    )  # fmt: skip
    return {"event": "point", "point": index, "energy_source": "none: at all", **known, **facts}


@pytest.fixture
def recorded(tmp_path: Path) -> BundleRecord:
    """The events of two rounds of two grid points."""
    record = BundleRecord(scripted_bundle(tmp_path / "bundle"))
    for number in range(2):
        events: list[tuple[Task, dict[str, Any]]] = [
            ("load", {"event": "loaded", "seconds": 4.0 + number, "environment": ENVIRONMENT}),
            ("load", {"event": "bandwidth", "bytes_per_s": 1e9}),
            ("measure", {"event": "loaded", "seconds": 2.0, "environment": ENVIRONMENT}),
        ]
        for index in range(2):
            latencies = [10.0 + number, 30.0 + number]
            made = {
                "event": "sample",
                "point": index,
                "ttft_ms": 20.0,
                "inter_token_latencies_ms": latencies,
            }
            facts = {
                "peak_memory_bytes": 1000 + number, "energy_joules": 3.0, "cpu_steal": 0.1 * number,
                "load_average": [1.0 + number, 2.0 + number], "threads": 5,
            }  # fmt: skip
            events += [("measure", {"event": "warm", "point": index}), ("measure", made)]
            events.append(("measure", point(index, **facts)))
        for task, event in events:
            parent.listen(event, task, number, record)
    return record


def test_figures_follow_from_the_samples(recorded: BundleRecord) -> None:
    first, second = make_rows(recorded, PROTOCOL, FAST)
    assert (first.prompt_tokens, second.prompt_tokens) == (4, 8)
    assert [s.process for s in first.samples] == [0, 1]
    assert first.prefill_tokens_per_s == pytest.approx(200)
    assert second.prefill_tokens_per_s == pytest.approx(400)
    assert first.tpot_ms.p50 == pytest.approx(20.5)  # of runs with means 20 and 21
    assert first.decode_tokens_per_s == pytest.approx(1000 / 20.5)
    assert first.inter_token_latency_ms.count == 4
    assert (first.load_cold_s, first.load_warm_s) == (4.5, 2.0)
    assert first.peak_memory_bytes == 1001
    assert first.energy_joules == pytest.approx(6)
    assert first.conditions.load_average == (1.0, 3.0)
    assert first.conditions.cpu_steal == pytest.approx(0.05)
    assert [p.load_cold_s for p in first.processes] == [4.0, 5.0]
    assert first.protocol_hash == PROTOCOL.hash
    assert first.interrupted is None


def test_energy_per_token_is_of_the_processes_with_a_meter(recorded: BundleRecord) -> None:
    whole = make_rows(recorded, PROTOCOL, FAST)[0]
    assert whole.joules_per_token == pytest.approx(6 / (2 * 3))
    recorded.facts[0].pop()  # the second process died after its sample
    cut = make_rows(recorded, PROTOCOL, FAST)[0]
    assert cut.joules_per_token == pytest.approx(3 / 3)
    recorded.facts[0][0]["energy_joules"] = None
    assert make_rows(recorded, PROTOCOL, FAST)[0].joules_per_token is None


def test_bandwidth_utilization_is_bytes_per_token_times_tokens_per_second(
    recorded: BundleRecord,
) -> None:
    row = make_rows(recorded, PROTOCOL, FAST)[0]
    planned = recorded.bundle.manifest.plan["bytes_per_token"]
    assert row.artifact.bytes_per_token == planned > 0
    expected = planned * row.decode_tokens_per_s / 1e9
    assert row.memory_bandwidth_utilization == pytest.approx(expected)


@pytest.mark.parametrize("machine", [MACHINE, FAST], ids=["not measured", "a GPU's own memory"])
def test_no_bandwidth_utilization_if_it_is_meaningless(
    machine: Machine, recorded: BundleRecord
) -> None:
    if machine is FAST:
        recorded.environment["kind"] = "gpu"
    assert make_rows(recorded, PROTOCOL, machine)[0].memory_bandwidth_utilization is None


@pytest.mark.parametrize(("backend", "predicted"), [("openvino", True), ("onnxruntime", False)])
def test_only_backends_of_known_efficiency_have_a_prediction(
    backend: str, predicted: bool, recorded: BundleRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU with AMX, where ONNX Runtime was not measured."""
    monkeypatch.setattr(info, "cpu_flags", lambda: frozenset({"amx_int8"}))
    recorded.environment |= {"target": "intel-cpu", "kind": "cpu", "backend": backend}
    row = make_rows(recorded, PROTOCOL, FAST)[0]
    assert (row.predicted is not None) == predicted


def test_incomplete_rows_give_the_reason(recorded: BundleRecord) -> None:
    recorded.samples[1].pop()
    recorded.facts[1].pop()
    whole, cut = make_rows(recorded, PROTOCOL, MACHINE, "the device is gone")
    assert whole.interrupted is None
    assert cut.interrupted == "the device is gone"
    assert len(cut.processes) == 1
    del recorded.samples[1]
    assert len(make_rows(recorded, PROTOCOL, MACHINE, "the device is gone")) == 1


def test_ratios_are_taken_round_by_round() -> None:
    ours = [sample(n, 10.0, tpot) for n, tpot in enumerate((10.0, 20.0, 10.0))]
    peers = [sample(n, 15.0, tpot) for n, tpot in enumerate((11.0, 26.0, 12.0))]
    found = ratios(ours, peers)
    assert found["prefill"] == found["prefill_low"] == found["prefill_high"] == 1.5
    assert (found["decode"], found["decode_low"], found["decode_high"]) == pytest.approx(
        (1.2, 1.1, 1.3)
    )


def test_a_round_without_the_peer_does_not_count() -> None:
    ours = [sample(0, 10.0, 10.0), sample(1, 10.0, 99.0)]
    assert ratios(ours, [sample(0, 10.0, 12.0)])["decode_high"] == pytest.approx(1.2)
    assert ratios(ours, []) == {}
