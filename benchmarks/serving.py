"""Throughput of servers beside each other on the CPU, at several numbers of streams.

    python -m benchmarks.serving OURS [--vllm-python PYTHON --vllm MODEL] [--streams 1,8,32]
        [--rounds 3] [--prompt 288] [--shared 0.9] [--new 48] [--threads N] [--json FILE]

The contenders take turns, since machines drift; each has a process of its own in every round:

    ours    `qdeploy serve OURS`, over HTTP
    bare    openvino-genai's ContinuousBatchingPipeline on the same bundle, without HTTP, with the
            library's defaults; `cached`: the same with prefix caching
    vllm    vLLM's server for CPUs, over HTTP; MODEL may have another precision

All get the same token ids (a part that every request shares, as a system prompt is, and a part of
its own), the same number of tokens to make, and the same number of threads. Clients each send a
request when their last one is answered, after a warm-up of one request for each client; see
docs/benchmarking.md. The table has medians of tokens a second; ratios are computed round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import bare_pipeline
from benchmarks.servers import qdeploy_serve, started, vllm_server
from qdeploy.bench.load.clients import Outcome, send_all
from qdeploy.bench.load.protocol import LEAST, WARM_UP, LoadPoint, LoadProtocol, Planned
from qdeploy.bench.load.worker import summary
from qdeploy.bundle import open_bundle
from qdeploy.engines.client import EngineClient
from qdeploy.engines.process import Launch
from qdeploy.errors import GenerationFailed
from qdeploy.system import info
from qdeploy.system.threads import usable_threads

Figures = dict[int, float]
"""Tokens a second by the number of streams."""


@dataclass(frozen=True)
class Asked:
    """What all contenders do: so many requests for each client, and at least `LEAST`."""

    protocol: LoadProtocol
    per_client: int
    vocab_size: int
    threads: int
    folder: Path

    @property
    def streams(self) -> int:
        return max(self.protocol.concurrencies)

    def requests(self, point: LoadPoint, number: int) -> list[Planned]:
        """The requests of one load in round *number*, or the warm-up's."""
        count = max(self.per_client * point.concurrency, LEAST)
        return replace(self.protocol, requests=count).planned(point, number, self.vocab_size)


def over_http(asked: Asked, number: int, launch: Callable[[], Launch]) -> Figures:
    """Measure a server that is started for it."""
    with started(launch()) as server, EngineClient(server.url) as client:
        model = client.models()[0].id

        def send(planned: Planned) -> Iterator[float]:
            body = {
                "model": model, "prompt": list(planned.prompt_ids), "temperature": 0,
                "max_tokens": planned.new_tokens, "ignore_eos": True, "return_token_ids": True,
            }  # fmt: skip
            yield from _stamps(client, body)

        found: Figures = {}
        for point in asked.protocol.points:
            send_all(asked.requests(point, WARM_UP), point.concurrency, send)
            outcomes = send_all(asked.requests(point, number), point.concurrency, send)
            found[point.concurrency] = _speed(outcomes)
        return found


def _stamps(client: EngineClient, body: Mapping[str, Any]) -> Iterator[float]:
    """The time of each token. A chunk may have several: the usage tells how many there were."""
    made, now = 0, 0.0
    with closing(client.complete(body)) as chunks:
        for chunk in chunks:
            now = chunk.timestamp
            if chunk.usage is not None:
                yield from (now for _ in range(chunk.usage.completion_tokens - made))
            else:
                tokens = len(chunk.token_ids or ())
                made += tokens
                yield from (now for _ in range(tokens))


def bare(asked: Asked, number: int, bundle: Path, cached: bool) -> Figures:
    """Measure the bare pipeline, in a worker process."""
    loads = [
        {
            "streams": point.concurrency,
            "warm_up": _plain(asked.requests(point, WARM_UP)),
            "requests": _plain(asked.requests(point, number)),
        }
        for point in asked.protocol.points
    ]
    return bare_pipeline.measure(bundle, loads, cached=cached, threads=asked.threads)


def _plain(requests: Sequence[Planned]) -> list[tuple[Sequence[int], int]]:
    return [(planned.prompt_ids, planned.new_tokens) for planned in requests]


def _speed(outcomes: Sequence[Outcome]) -> float:
    told = summary(outcomes)
    if told["failures"]:
        raise GenerationFailed(f"requests failed: {told['failures']}")
    return float(sum(sample["new_tokens"] for sample in told["samples"]) / told["duration_s"])


def compare(rounds: Sequence[Mapping[str, Figures]], streams: Sequence[int]) -> Iterator[str]:
    """The table's lines: medians, and the ratio of ours to the best other, by rounds."""
    names = list(rounds[0])
    yield f"| streams | {' | '.join(names)} | ours to the best other, median (rounds) |"
    yield f"|{'---|' * (len(names) + 2)}"
    for count in streams:
        speeds = [f"{statistics.median(r[n][count] for r in rounds):.1f}" for n in names]
        others = [max(r[n][count] for n in names if n != "ours") for r in rounds]
        ratios = [r["ours"][count] / best for r, best in zip(rounds, others, strict=True)]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        yield f"| {count} | {' | '.join(speeds)} | {statistics.median(ratios):.2f} ({each}) |"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("ours", type=Path)
    parser.add_argument("--vllm-python", type=Path)
    parser.add_argument("--vllm", type=Path)
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=288)
    parser.add_argument("--shared", type=float, default=0.9)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--per-client", type=int, default=2)
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--json", type=Path, help="also write every round's figures")
    given = parser.parse_args()
    streams = tuple(sorted(map(int, given.streams.split(","))))
    protocol = LoadProtocol(
        prompt_tokens=given.prompt, new_tokens=given.new, vary=0.0, shared=given.shared,
        concurrencies=streams, rate=None, requests=None, processes=given.rounds,
        goodput={},
    )  # fmt: skip
    vocab = open_bundle(given.ours).manifest.model.vocab_size
    with tempfile.TemporaryDirectory() as folder:
        asked = Asked(protocol, given.per_client, vocab, given.threads, Path(folder))
        log, threads = asked.folder / "server.log", str(given.threads)
        ours = partial(
            qdeploy_serve, given.ours, log, "--threads", threads, "--context", "2048",
            "--concurrency", str(asked.streams),
        )  # fmt: skip
        contenders: dict[str, Callable[[int], Figures]] = {
            "ours": lambda number: over_http(asked, number, ours),
            "bare": lambda number: bare(asked, number, given.ours, False),
            "cached": lambda number: bare(asked, number, given.ours, True),
        }
        if given.vllm and given.vllm_python:
            model = given.vllm.absolute()
            vllm = partial(vllm_server, given.vllm_python, model, log, given.threads, asked.streams)
            contenders["vllm"] = lambda number: over_http(asked, number, vllm)
        rounds = []
        for number in range(given.rounds):
            found = {}
            for name, measure in contenders.items():
                found[name] = measure(number)
                print(f"round {number + 1}, {name}: {found[name]}", file=sys.stderr, flush=True)
            rounds.append(found)
    print(f"{info.cpu_name()}, {given.threads} threads; tokens a second")
    print("\n".join(compare(rounds, streams)))
    if given.json:
        given.json.write_text(json.dumps(rounds, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
