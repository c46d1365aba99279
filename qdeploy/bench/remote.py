"""The speed of a server that does the text: without a bundle, so without token ids.

A prompt is some number of words, all runs' different, so that no cache of prefixes helps. What the
server made of it, in tokens, is by its own count, and a server that does not count has no figures
per token. Chunks are never taken for tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from qdeploy.bench.grid import Point
from qdeploy.deploy.remote import RemoteAnswer, RemoteChat
from qdeploy.errors import GenerationFailed

WORDS = ("river", "stone", "green", "seven", "music", "north", "paper", "light", "quiet", "bread")


@dataclass(frozen=True)
class RemoteRow:
    """The runs at one point.

    Attributes:
        point: words of the prompt, and most tokens of the answer.
        runs: what `RemoteAnswer.as_dict` says of each, without its texts.
    """

    point: Point
    runs: tuple[dict[str, Any], ...]

    def median(self, figure: str) -> float | None:
        """The median of a figure; None where a run has none."""
        values = [run[figure] for run in self.runs]
        return None if None in values else median(values)

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        figures = ("ttft_ms", "tpot_ms", "decode_tokens_per_s")
        return {
            "prompt_words": self.point.prompt,
            "most_new_tokens": self.point.new,
            **{figure: self.median(figure) for figure in figures},
            "runs": list(self.runs),
        }


def measure(
    chat: RemoteChat,
    points: Sequence[Point],
    runs: int,
    on_step: Callable[[str, int, int], None],
) -> Iterator[RemoteRow]:
    """Yield a row for each point: one answer to warm up, and *runs* that count.

    Raises:
        QdeployError: the server fails or goes away, or makes no text.
    """
    total = len(points) * (runs + 1)
    for place, point in enumerate(points):
        made = []
        for run in range(runs + 1):
            made.append(_run(chat, point, run))
            on_step(f"{point}", place * (runs + 1) + run + 1, total)
        yield RemoteRow(point, tuple(made[1:]))


def _run(chat: RemoteChat, point: Point, run: int) -> dict[str, Any]:
    chosen = random.Random(f"{point} {run}").choices(WORDS, k=point.prompt)  # noqa: S311
    asked = [{"role": "user", "content": " ".join(chosen)}]
    answer: RemoteAnswer = chat.stream(asked, temperature=0.0, max_new_tokens=point.new)
    for _ in answer:
        pass
    if answer.ttft_ms is None:
        raise GenerationFailed(
            "the server's answer has no text, so there is nothing to measure", where=chat.url
        )
    told = answer.as_dict(chat)
    kept = (
        "prompt_tokens", "new_tokens", "tokens_counted_by", "chunks", "finish_reason", "ttft_ms",
        "tpot_ms", "decode_tokens_per_s",
    )  # fmt: skip
    return {name: told[name] for name in kept}
