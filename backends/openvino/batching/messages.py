"""What the session and its engine tell each other: a request, a step and an end, as plain data.

    to the engine      {"add": NUMBER, "request": {...}}, {"cancel": NUMBER}
    to the session     {"ready": LOG}      the pipeline is loaded; what it printed meanwhile
                       {"made": [[NUMBER, IDS, LOGPROBS], ...], "ended": [NUMBER, ...],
                        "failed": [[NUMBER, KIND, WHAT], ...]}, after a step
                       {"error": {...}}    the last one: nothing goes on

`ended` and `failed` requests have left the pipeline, and their blocks are free. So have those that
were cancelled: they end, too.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from qdeploy.interface import Request, Sampling

Kind = Literal["cache", "schema", "runtime"]
"""Why one request failed: the cache had no room, its schema was refused, or the runtime broke."""


def request_to_plain(request: Request) -> dict[str, Any]:
    """Return *request* as plain data."""
    return {
        "prompt_ids": list(request.prompt_ids),
        "max_new_tokens": request.max_new_tokens,
        "sampling": asdict(request.sampling),
        "stop_ids": sorted(request.stop_ids),
        "logprobs": request.logprobs,
        "json_schema": request.json_schema,
    }


def request_from_plain(plain: dict[str, Any]) -> Request:
    """Return the request that *plain* was made of."""
    return Request(
        prompt_ids=tuple(plain["prompt_ids"]),
        max_new_tokens=plain["max_new_tokens"],
        sampling=Sampling(**plain["sampling"]),
        stop_ids=frozenset(plain["stop_ids"]),
        logprobs=plain["logprobs"],
        json_schema=plain["json_schema"],
    )
