"""Rounds over bundles, with workers that send the events that a test names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from qdeploy.bench import parent, peer
from qdeploy.bench.parent import BenchOptions, BenchOutcome, check_bench, measure
from qdeploy.bench.protocol import Protocol
from qdeploy.bench.worker import Job
from qdeploy.bundle import Bundle
from qdeploy.deploy import cache
from qdeploy.errors import GenerationFailed, InputError
from qdeploy.system.worker import Event
from tests.support.bundles import scripted_bundle
from tests.support.measured import MACHINE
from tests.unit.bench.test_rows import ENVIRONMENT, point

Hear = Callable[[Event], None]
PROTOCOL = Protocol((4,), (3,), runs=1, processes=2)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))


def measured(*bundles: Bundle, options: BenchOptions) -> BenchOutcome:
    return measure(
        bundles, PROTOCOL, MACHINE, options, save=lambda outcome: None, on_step=lambda *step: None
    )


def work(job: Job, environment: Mapping[str, str], hear: Hear) -> None:
    hear({"event": "loaded", "seconds": 1.0, "environment": ENVIRONMENT})
    if job.task != "load":
        made = {"ttft_ms": 1.0, "inter_token_latencies_ms": [2.0, 2.0]}
        hear({"event": "sample", "point": 0, **made})
        hear(point(0))


def test_a_peer_that_fails_ends_its_own_turns_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fails(job: Job, environment: Mapping[str, str], hear: Hear) -> None:
        asked.append(job.task)
        if job.task == "peer":
            raise GenerationFailed("it met a node it does not know", where="made-up-genai 1")
        work(job, environment, hear)

    monkeypatch.setattr(parent, "run_job", fails)
    outcome = measured(scripted_bundle(tmp_path / "one"), options=BenchOptions(peer=True))
    assert asked == ["load", "measure", "peer", "load", "measure"]
    (row,) = outcome.all_rows()
    assert len(row.samples) == 2
    assert row.interrupted is None
    assert row.peer_failure == "it met a node it does not know"
    assert outcome.failure is not None
    assert outcome.failure.what == "the peer failed: it met a node it does not know"


def test_a_peer_gets_as_many_threads_as_the_bundles_own_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, int | None] = {}
    placement = {**ENVIRONMENT["placement"], "threads": 3}

    def note(job: Job, environment: Mapping[str, str], hear: Hear) -> None:
        given[job.task] = job.threads
        hear({
            "event": "loaded", "seconds": 1.0,
            "environment": {**ENVIRONMENT, "placement": placement, "peer": "made-up-genai 1"},
        })  # fmt: skip

    monkeypatch.setattr(parent, "run_job", note)
    measured(scripted_bundle(tmp_path / "one"), options=BenchOptions(peer=True))
    assert given == {"load": None, "measure": None, "peer": 3}


def test_a_worker_measures_the_bundle_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[str] = []

    def note(job: Job, environment: Mapping[str, str], hear: Hear) -> None:
        digests.append(job.digest)
        work(job, environment, hear)

    monkeypatch.setattr(parent, "run_job", note)
    one, other = scripted_bundle(tmp_path / "one"), scripted_bundle(tmp_path / "two", answer="no")
    measured(one, other, options=BenchOptions())
    assert digests == [one.digest, one.digest, other.digest, other.digest] * 2


def test_one_bundle_twice_is_refused(tmp_path: Path) -> None:
    bundle = scripted_bundle(tmp_path / "one")
    with pytest.raises(InputError, match="given twice"):
        check_bench([bundle, bundle], PROTOCOL, BenchOptions())


def test_a_peer_that_would_run_elsewhere_is_refused(tmp_path: Path) -> None:
    bundle = scripted_bundle(tmp_path / "one")
    (bundle.path / "genai_config.json").write_text("{}")
    changes = {"format": "onnx", "target": "intel-cpu"}
    elsewhere = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update=changes))
    with pytest.raises(InputError, match="would run this bundle on cpu, not on intel-cpu"):
        peer.find(elsewhere)
