"""Clients: send requests, and note when their tokens come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from qdeploy.bench.load.protocol import Planned
from qdeploy.errors import QdeployError

Send = Callable[[Planned], Iterable[float]]
"""Sends one request and yields the `perf_counter` seconds of its tokens, from any thread."""


class Places:
    """A semaphore that is fair: who waits longest is next.

    With that of `threading`, a client that has just given back a place may take it again before one
    that waits for it wakes up.
    """

    def __init__(self, count: int) -> None:
        self._free, self._lock = count, threading.Lock()
        self._waiting: deque[threading.Event] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __enter__(self) -> None:
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            self._waiting.append(turn)
        turn.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # it takes over this place
            else:
                self._free += 1


@dataclass
class Outcome:
    """What became of one request; times are `perf_counter` seconds.

    Attributes:
        arrived: when its client wanted an answer: for an arrival, whether or not it was sent then.
        stamps: of its tokens.
        failure: why it has fewer tokens than it asked for; None if it has all.
    """

    planned: Planned
    arrived: float
    stamps: list[float] = field(default_factory=list)
    failure: str | None = None


def send_all(
    requests: Sequence[Planned],
    clients: int,
    send: Send,
    *,
    arrivals: Sequence[float] | None = None,
) -> list[Outcome]:
    """Send all requests and return their outcomes, in order.

    Without *arrivals*, each of the clients sends its next request when its last one is answered.
    With them, requests arrive at these seconds, and wait if *clients* are under way already.
    Failures of single requests are part of the outcomes.

    Raises:
        Exception: *send* raised what is no `QdeployError`: a bug, not an outcome.
    """
    begin = time.perf_counter()

    def run(place: int) -> Outcome:
        arrived = time.perf_counter() if arrivals is None else begin + arrivals[place]
        outcome = Outcome(requests[place], arrived)
        made, wanted = outcome.stamps, outcome.planned.new_tokens
        try:
            made.extend(send(outcome.planned))
        except QdeployError as error:
            outcome.failure = error.what
        else:
            if len(made) != wanted:
                short = f"the runtime made {len(made)} of {wanted} tokens"
                outcome.failure = f"{short}, with nothing to stop it"
        return outcome

    with ThreadPoolExecutor(clients, thread_name_prefix="client") as pool:
        futures = []
        for place in range(len(requests)):
            if arrivals is not None:
                time.sleep(max(0.0, begin + arrivals[place] - time.perf_counter()))
            futures.append(pool.submit(run, place))
        return [future.result() for future in futures]
