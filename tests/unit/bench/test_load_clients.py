"""Clients, closed and open: how many work at once, what waits, and what a failure does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from qdeploy.bench.load.clients import Places, send_all
from qdeploy.bench.load.protocol import Planned
from qdeploy.bench.load.worker import sender, summary
from qdeploy.errors import GenerationFailed
from qdeploy.results import Histogram
from tests.support.scripted import ScriptedSession

REQUESTS = [Planned(i, (1, 2, 3), 2) for i in range(6)]


def test_so_many_clients_work_at_once() -> None:
    """Every client waits for the others: with fewer at once, none would be answered."""
    together = threading.Barrier(3, timeout=20)

    def send(planned: Planned) -> Iterator[float]:
        together.wait()
        yield time.perf_counter()
        yield time.perf_counter()

    outcomes = send_all(REQUESTS, 3, send)
    assert [outcome.planned for outcome in outcomes] == REQUESTS
    assert [outcome.failure for outcome in outcomes] == [None] * 6


def test_failures_are_outcomes_and_others_go_on() -> None:
    def send(planned: Planned) -> Iterator[float]:
        yield time.perf_counter()
        if planned.index == 1:
            raise GenerationFailed("the device is gone")
        if planned.index != 2:
            yield time.perf_counter()

    outcomes = send_all(REQUESTS, 2, send)
    found = summary(outcomes)
    assert found["failures"] == {
        "the device is gone": 1,
        "the runtime made 1 of 2 tokens, with nothing to stop it": 1,
    }
    assert len(found["samples"]) == 4
    assert Histogram.model_validate(found["inter_token_latencies"]).count == 4


def test_a_bug_is_no_outcome() -> None:
    def send(planned: Planned) -> Iterator[float]:
        yield 1 / 0

    with pytest.raises(ZeroDivisionError):
        send_all(REQUESTS, 2, send)


def test_an_arrival_counts_from_when_it_came_not_from_when_it_was_sent() -> None:
    """All arrive at once and one client sends them: the last has waited for all others."""
    clock = iter(range(1, 100))
    begin = time.perf_counter()

    def send(planned: Planned) -> Iterator[float]:
        yield begin + 10 + next(clock)
        yield begin + 10 + next(clock)

    outcomes = send_all(REQUESTS, 1, send, arrivals=[0.0] * 6)
    samples = summary(outcomes)["samples"]
    assert {sample["start_s"] for sample in samples} == {0.0}
    assert [round((s["ttft_ms"] - samples[0]["ttft_ms"]) / 1000) for s in samples] == [
        0, 2, 4, 6, 8, 10,
    ]  # fmt: skip


def test_a_session_that_serves_one_at_a_time_is_asked_one_at_a_time() -> None:
    session = ScriptedSession([7, 7])
    outcomes = send_all(REQUESTS, 6, sender(session))
    assert [outcome.failure for outcome in outcomes] == [None] * 6
    assert len(session.requests) == 6


def test_places_go_to_who_waits_longest() -> None:
    places, order = Places(1), []
    begun = [threading.Event() for _ in range(3)]

    def client(number: int) -> None:
        begun[number].set()
        with places:
            order.append(number)

    with places:
        threads = []
        for number in range(3):
            threads.append(threading.Thread(target=client, args=(number,)))
            threads[-1].start()
            begun[number].wait()
            while len(places) <= number:  # until it is in the line
                time.sleep(0)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
    with places:
        assert len(places) == 0
