"""What a server is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field

MEBI = 2**20


@dataclass(frozen=True)
class Limits:
    """What one client may take of the server.

    Attributes:
        body_bytes: of a request.
        body_seconds: within which a request's body must arrive.
        head_seconds: within which its head must.
        stall_seconds: for which a client may leave its answer unread, once buffers are full.
        seconds: of a request, waiting included; None is no limit.
        answer_tokens: most tokens of an answer, thinking included; None is what the context leaves.
        choices: most answers of one request (`n`).
        stops: most texts that end an answer.
        texts: most texts of a request to embed or rerank.
    """

    body_bytes: int = 8 * MEBI
    body_seconds: float = 30.0
    head_seconds: float = 15.0
    stall_seconds: float = 30.0
    seconds: float | None = 3600.0
    answer_tokens: int | None = None
    choices: int = 16
    stops: int = 16
    texts: int = 2048


@dataclass(frozen=True)
class Settings:
    """How a server serves.

    Attributes:
        name: the model's name in requests and answers.
        queue: how many requests may wait, besides those that run.
        keys: API keys; none means that nobody is asked for one.
        hosts: names in the header `host` that are answered besides `localhost` and loopback
            addresses; None answers all.
        origins: of web pages elsewhere that may use the server (CORS); `*` is every page.
        drain_seconds: for which requests that run may go on once the server is told to stop.
    """

    name: str
    queue: int = 64
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None
    origins: tuple[str, ...] = ()
    drain_seconds: float = 30.0
    limits: Limits = field(default_factory=Limits)
