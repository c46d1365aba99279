"""Soak: many streams for minutes, with clients that vanish, stall and send garbage.

    python -m benchmarks.soak BUNDLE [--minutes 10] [--streams 64] [--threads N]

BUNDLE is of an embedded model: it answers sums, so every answer is checked. One of four streams is
a bad client. The soak fails (exit code 1) if

    lost     a good client gets no answer, an error, or an end that is none
    mixed    an answer is not the sum, and not what the server gives to that question alone either:
             the model itself gets some sums wrong
    leaked   after the last client, requests still run, or the server has more open files, threads
             or memory than in the first third of the time; memory is compared from three minutes
             on, since caches fill first
    misled   garbage is answered with anything but an error that says what is wrong
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import bad_clients
from benchmarks.process_tree import Usage, usage_of
from benchmarks.servers import qdeploy_serve, started

GOOD_OF_FOUR = 3
MOST_GROWTH = 0.10
"""Memory may grow by so much of itself after the first third: allocators keep some."""
MORE_THREADS = 4
"""Pools of threads grow when they are first needed, up to a bound."""
MEMORY_MINUTES = 3.0
"""Shorter soaks do not compare memory: the key-value cache and its prefixes fill first."""
SETTLE_SECONDS = 30.0
SAMPLE_SECONDS = 5.0


@dataclass
class Tally:
    """What became of the requests, by kind; safe for threads.

    Attributes:
        wrong: sums that were answered wrongly, and their answers.
    """

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, int, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def fault(self, what: str) -> None:
        with self.lock:
            self.counts[what.partition(":")[0]] += 1
            self.faults.append(what)


def good_client(url: str, number: int, until: float, tally: Tally) -> None:
    """Ask sums, one after another, and check every answer."""
    drawn = random.Random(number)  # noqa: S311
    with httpx.Client(timeout=300, trust_env=False) as http:
        while time.monotonic() < until:
            a, b = drawn.randint(100, 99_999), drawn.randint(100, 9_999)
            try:
                said, finish = _ask(http, url, a, b, stream=bool(drawn.getrandbits(1)))
            except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
                tally.fault(f"lost: {type(error).__name__}: {error}")
                continue
            if finish != "stop":
                tally.fault(f"lost: {a} + {b} ended with {finish}")
            elif said.strip() != str(a + b):
                with tally.lock:
                    tally.wrong.append((a, b, said))
            else:
                tally.count("right")


def _ask(http: httpx.Client, url: str, a: int, b: int, *, stream: bool) -> tuple[str, str | None]:
    body = {
        "messages": [{"role": "user", "content": f"What is {a} + {b}?"}],
        "temperature": 0, "stream": stream, "chat_template_kwargs": {"enable_thinking": True},
    }  # fmt: skip
    return _answer(http, f"{url}/v1/chat/completions", body)


def _judge_wrong(url: str, tally: Tally) -> None:
    """Ask alone what was answered wrongly among others."""
    with httpx.Client(timeout=300, trust_env=False) as http:
        for a, b, said in tally.wrong:
            alone, _ = _ask(http, url, a, b, stream=False)
            if alone == said:
                tally.count("wrong, alone as well")
            else:
                tally.fault(f"mixed: {a} + {b} gives {alone!r} alone, and {said!r} among others")


def _answer(http: httpx.Client, url: str, body: Mapping[str, Any]) -> tuple[str, str | None]:
    """Content and reason of the end; an error status or event is a ValueError."""
    if not body["stream"]:
        answer = http.post(url, json=body)
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}: {answer.text[:200]}")
        choice = answer.json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]
    said, finish, last = "", None, ""
    with http.stream("POST", url, json=body) as answer:
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}: {answer.read()[:200]!r}")
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            last = line.removeprefix("data: ")
            if last == "[DONE]":
                break
            event = json.loads(last)
            if "error" in event:
                raise ValueError(f"error event: {event['error']}")
            for choice in event["choices"]:
                said += choice["delta"].get("content") or ""
                finish = choice["finish_reason"] or finish
    if last != "[DONE]":
        raise ValueError("the stream ended without its mark")
    return said, finish


def bad_client(url: str, number: int, until: float, tally: Tally) -> None:
    """Vanish, stall, and send garbage, in a random order."""
    drawn = random.Random(number)  # noqa: S311
    while time.monotonic() < until:
        name, act = drawn.choice(bad_clients.ACTS)
        try:
            complaint = act(url, drawn, until)
        except OSError:  # the server closed the connection, as it may
            complaint = None
        if complaint:
            tally.fault(f"misled: {name}: {complaint}")
        else:
            tally.count(name)


def soak(url: str, pid: int, minutes: float, streams: int) -> tuple[Tally, list[Usage]]:
    """Run all clients; return what became of them, and the server's usage over the time.

    The last usage is of the server after all clients have gone.
    """
    begin, tally = time.monotonic(), Tally()
    until = begin + 60 * minutes
    kinds = [good_client if i % 4 < GOOD_OF_FOUR else bad_client for i in range(streams)]
    threads = [
        threading.Thread(target=kind, args=(url, i, until, tally), daemon=True)
        for i, kind in enumerate(kinds)
    ]
    for thread in threads:
        thread.start()
    usages = []
    while time.monotonic() < until:
        time.sleep(min(SAMPLE_SECONDS, max(0.0, until - time.monotonic())))
        usages.append(usage_of(pid))
        right, faults = tally.counts["right"], len(tally.faults)
        told = f"{right} right, {len(tally.wrong)} wrong, {faults} faults"
        print(f"{usages[-1]}; {told}", file=sys.stderr, flush=True)
    for thread in threads:
        thread.join()
    _settle(url, tally)
    _judge_wrong(url, tally)
    return tally, [*usages, usage_of(pid)]


def _settle(url: str, tally: Tally) -> None:
    """Wait until the server has noticed that all clients have gone."""
    deadline = time.monotonic() + SETTLE_SECONDS
    gauges: dict[str, float] = {}
    while time.monotonic() < deadline:
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        gauges = {
            line.split("{")[0].split(" ")[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if "requests_running" in line.split("{")[0] or "requests_waiting" in line.split("{")[0]
            if not line.startswith("#")
        }
        if gauges and not any(gauges.values()):
            return
        time.sleep(0.5)
    tally.fault(f"leaked: requests that still run after all clients have gone: {gauges}")


def growth(usages: list[Usage], tally: Tally, *, memory: bool) -> None:
    """Compare the end with the highest values of the first third of the time."""
    early, end = usages[: max(len(usages) // 3, 1)], usages[-1]
    most = max(usage.memory_bytes for usage in early)
    if memory and end.memory_bytes > most * (1 + MOST_GROWTH):
        tally.fault(f"leaked: memory from {most} to {end.memory_bytes} bytes")
    for name, more in (("threads", MORE_THREADS), ("files", 0)):
        before, after = max(getattr(u, name) for u in early), getattr(end, name)
        if after > before + more:
            tally.fault(f"leaked: {name} from {before} to {after}")


def main() -> int:
    """Soak, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    options = ["--concurrency", "32", "--queue", str(2 * given.streams)]
    if given.threads:
        options += ["--threads", str(given.threads)]
    with tempfile.TemporaryDirectory() as folder:
        launch = qdeploy_serve(given.bundle, Path(folder) / "server.log", *options)
        with started(launch) as server:
            tally, usages = soak(server.url, server.pid, given.minutes, given.streams)
            growth(usages, tally, memory=given.minutes >= MEMORY_MINUTES)
    first, last = usages[0], usages[-1]
    counts = dict(sorted(tally.counts.items()))
    print(f"{given.streams} streams, {given.minutes:g} minutes: {counts}")
    print(f"the server after some seconds: {first}; after the last client: {last}")
    for fault in tally.faults[:20]:
        print(fault)
    return 1 if tally.faults or not tally.counts["right"] else 0


if __name__ == "__main__":
    sys.exit(main())
