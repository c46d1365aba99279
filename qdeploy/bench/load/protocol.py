"""The load protocol, as data with a hash. Only results with equal hashes are compared.

As with `bench.protocol`, a change of what is done needs a new `VERSION`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdeploy.bench.grid import FEWEST_NEW
from qdeploy.bundle import Bundle
from qdeploy.errors import InputError
from qdeploy.results.load import MOST_REQUESTS

VERSION = 1
SEED = 0
PER_CLIENT, LEAST = 4, 8
"""Requests at a point where the user names no number: so many per client, and at least so many."""
MOST_CLIENTS = 1024
CLIENTS = 64
"""Most requests under way at a rate, where the user names no number."""
PROMPT, NEW = 128, 64
"""Default lengths, in tokens."""
WARM_UP = -1
RULES = {
    "load": "closed: each client sends a request when the one before is answered; with a rate, "
    "open: arrivals by a Poisson process do not wait for answers",
    "prompts": "token ids from sha256 over a label, modulo the vocabulary: a part that all share, "
    "then a part of its own for every request, of round, load and index",
    "lengths": "uniform around the mean, drawn for each index; the same in every round",
    "sampling": "greedy",
    "stop_tokens": "ignored",
    "warm_up": "one request of each client at every load, not counted; it leaves the shared part "
    "in a prefix cache",
    "order": "rounds; in each, every bundle in turn, in a process of its own; in a process, loads "
    "by ascending concurrency",
    "waiting": "requests beyond what the session serves at once wait, and the wait counts",
    "clock": "perf_counter: from arrival to when the runtime hands a token over",
    "failures": "counted by message, and in no figure",
    "percentiles": "of inter-token latency from a histogram with bins of 2%",
}


@dataclass(frozen=True)
class LoadPoint:
    """One load: clients that work at once, or arrivals per second with a limit on them."""

    concurrency: int
    rate: float | None = None

    def __str__(self) -> str:
        clients = f"{self.concurrency} at once"
        return clients if self.rate is None else f"{self.rate:g}/s, {clients} at most"


@dataclass(frozen=True)
class Planned:
    """One request: where it belongs, its prompt, and how many tokens it asks for."""

    index: int
    prompt_ids: tuple[int, ...]
    new_tokens: int


@dataclass(frozen=True)
class LoadProtocol:
    """The protocol of one load benchmark.

    Attributes:
        prompt_tokens, new_tokens: mean lengths.
        vary: lengths lie within this share of the mean, 0 to 1.
        shared: share of the mean prompt that all requests have in common, 0 to 1.
        concurrencies: the loads; not part of the hash, since rows are of one load each.
        rate: mean arrivals per second; None for clients that wait for answers.
        requests: requests at each load and in each process; None is `PER_CLIENT` for each client.
        processes: rounds.
        goodput: limits in milliseconds, by name.
    """

    prompt_tokens: int
    new_tokens: int
    vary: float
    shared: float
    concurrencies: tuple[int, ...]
    rate: float | None
    requests: int | None
    processes: int
    goodput: Mapping[str, float]

    @property
    def points(self) -> tuple[LoadPoint, ...]:
        return tuple(LoadPoint(count, self.rate) for count in self.concurrencies)

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest prompt and of the longest answer."""
        return _around(self.prompt_tokens, self.vary)[1], _around(self.new_tokens, self.vary)[1]

    def requests_at(self, point: LoadPoint) -> int:
        """Requests at one load, in each process."""
        return self.requests or max(PER_CLIENT * point.concurrency, LEAST)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: version, seed, rules and numbers."""
        default = f"{PER_CLIENT} a client, at least {LEAST}"
        return {
            "version": f"load {VERSION}",
            "seed": SEED,
            **RULES,
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "vary": self.vary,
            "shared": self.shared,
            "requests": self.requests or default,
            "processes": self.processes,
            "goodput": dict(self.goodput),
        }

    @property
    def hash(self) -> str:
        """sha256 (hex) of `as_dict` in canonical JSON: keys sorted, no spaces, ASCII."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def planned(self, point: LoadPoint, number: int, vocab_size: int) -> list[Planned]:
        """Return the requests of one load in round *number*; `WARM_UP` gives the warm-up's."""
        count = self.requests_at(point)
        if number == WARM_UP:
            count = min(count, point.concurrency)
        common = token_ids("shared", round(self.shared * self.prompt_tokens), vocab_size)
        drawn = random.Random(SEED)  # noqa: S311
        prompts, answers = (_around(n, self.vary) for n in (self.prompt_tokens, self.new_tokens))
        made = []
        for index in range(count):
            length, new = drawn.randint(*prompts), drawn.randint(*answers)
            label = f"{number}:{point.concurrency}:{point.rate}:{index}"
            own = token_ids(label, max(length - len(common), 1), vocab_size)
            made.append(Planned(index, common[: length - len(own)] + own, new))
        return made

    def arrivals(self, point: LoadPoint) -> list[float] | None:
        """Seconds at which the requests arrive; None if they wait for answers."""
        if point.rate is None:
            return None
        drawn = random.Random(SEED)  # noqa: S311
        moments, now = [], 0.0
        for _ in range(self.requests_at(point)):
            moments.append(now)
            now += drawn.expovariate(point.rate)
        return moments


def token_ids(label: str, count: int, vocab_size: int) -> tuple[int, ...]:
    """Return *count* token ids below *vocab_size* that depend on the arguments only."""
    ids: list[int] = []
    block = 0
    while len(ids) < count:
        digest = hashlib.sha256(f"{SEED}:{label}:{block}".encode()).digest()
        ids += (int.from_bytes(digest[i : i + 8], "big") % vocab_size for i in range(0, 32, 8))
        block += 1
    return tuple(ids[:count])


def parse_clients(text: str | None) -> tuple[int, ...]:
    """Parse numbers of clients, e.g. `1,8,32`; return each once, ascending. None is `CLIENTS`.

    Raises:
        InputError: a part is no number from 1 to `MOST_CLIENTS`.
    """
    if text is None:
        return (CLIENTS,)
    words = [word.strip() for word in text.split(",")]
    found = set()
    for word in words:
        if not (word.isascii() and word.isdigit()) or not 1 <= int(word[:9]) <= MOST_CLIENTS:
            raise InputError(
                f"{word!r} is not a number of clients",
                where="--concurrency",
                fix=f"give numbers from 1 to {MOST_CLIENTS}, e.g. --concurrency 1,8,32",
            )
        found.add(int(word[:9]))
    return tuple(sorted(found))


def check_load(bundles: Sequence[Bundle], protocol: LoadProtocol) -> None:
    """Check, before anything runs, that the bundles can be measured.

    Raises:
        InputError: the longest request does not fit a bundle, there are too many requests for one
            file, or a bundle is given twice.
    """
    prompt, new = protocol.longest
    if _around(protocol.new_tokens, protocol.vary)[0] < FEWEST_NEW:
        raise InputError(
            "the shortest answers have one token, and speed is measured between tokens",
            where="--vary",
            fix="a larger --new, or a smaller --vary",
        )
    most = max(protocol.requests_at(point) for point in protocol.points) * protocol.processes
    if most > MOST_REQUESTS:
        raise InputError(
            f"{most:,} requests at one load; a file of results keeps {MOST_REQUESTS:,}",
            where="--requests",
            fix="fewer --requests or --processes",
        )
    if len({bundle.digest for bundle in bundles}) < len(bundles):
        raise InputError("the same bundle is given twice", fix="--requests and --processes repeat")
    for bundle in bundles:
        context = bundle.manifest.model.context_length
        if prompt + new > context:
            _refuse(prompt, new, context, bundle.path)


def _refuse(prompt: int, new: int, context: int, where: Path) -> None:
    raise InputError(
        f"a request of {prompt} prompt and {new} new tokens does not fit: the bundle's context is "
        f"{context} tokens",
        where=where,
        fix="a smaller --prompt, --new or --vary, or export with a longer --context",
    )


def _around(mean: int, vary: float) -> tuple[int, int]:
    """The shortest and the longest length; at least 1."""
    reach = int(mean * vary)
    return max(mean - reach, 1), mean + reach
