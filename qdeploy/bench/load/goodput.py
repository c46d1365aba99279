"""Goodput: the answers that came soon enough to be of use, as vLLM's benchmark counts them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qdeploy.errors import InputError
from qdeploy.results import LoadSample

OPTION = "--goodput"
MEASURES = {
    "ttft": lambda sample: sample.ttft_ms,
    "tpot": lambda sample: sample.tpot_ms,
    "e2el": lambda sample: sample.e2e_ms,
}
"""What may be limited, in milliseconds: time to first token, time per output token, and the whole
answer; the names are those of `vllm bench serve --goodput`."""


def parse_goodput(text: str) -> dict[str, float]:
    """Parse limits in milliseconds, e.g. `ttft:500,tpot:50`.

    Raises:
        InputError: a part names no measure, or no positive number; or a measure comes twice.
    """
    limits: dict[str, float] = {}
    fix = f"give any of {', '.join(MEASURES)} with milliseconds, e.g. {OPTION} ttft:500,tpot:50"
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition(":"))
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if name not in MEASURES or name in limits or not 0 < limit < math.inf:
            raise InputError(f"{part.strip()!r} is not a limit", where=OPTION, fix=fix)
        limits[name] = limit
    return limits


def is_good(sample: LoadSample, limits: Mapping[str, float]) -> bool:
    """Whether an answer kept every limit."""
    return all(MEASURES[name](sample) <= limit for name, limit in limits.items())
