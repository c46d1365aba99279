"""What is known of one request, for the log and the metrics. It holds no text of anyone's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from qdeploy.serving.made import Made
from qdeploy.serving.work import Work


@dataclass(frozen=True)
class Answered:
    """The times of one answer, in seconds; None where it did not come so far.

    Attributes:
        finish_reason: None where it was cut off.
        queue_s: in the queue.
        ttft_s: from the request to the first token.
        tpot_s: mean time per token after the first.
        inter_token_s: between tokens that follow each other.
        total_s: from the request to the last token.
    """

    finish_reason: str | None
    queue_s: float | None
    ttft_s: float | None
    tpot_s: float | None
    inter_token_s: tuple[float, ...]
    total_s: float

    @classmethod
    def of(cls, work: Work[Any], generation: Made) -> Answered:
        timing = generation.timing
        stamps, tpot = timing.stamps, timing.tpot_ms
        reason = generation.finish_reason
        return cls(
            None if reason == "cancelled" else reason,
            work.started - work.queued if work.started else None,
            stamps[0] - work.made if stamps else None,
            None if tpot is None else tpot / 1000,
            tuple(ms / 1000 for ms in timing.inter_token_latencies_ms()),
            stamps[-1] - work.made if stamps else 0.0,
        )


@dataclass
class Record:
    """One request. It is filled in on the way and logged at the end.

    Attributes:
        id: the request's id.
        route: path of the route that took it; None for none.
        error: what the log says of a failure, beyond what the client was told.
    """

    id: str
    route: str | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    answers: list[Answered] = field(default_factory=list)
    error: str | None = None

    @classmethod
    def of(cls, scope: Scope) -> Record:
        """The record of the request with this ASGI scope."""
        found: Record = scope["state"]["record"]
        return found

    def fields(self) -> dict[str, Any]:
        """What the log says besides method, path and status."""
        told: dict[str, Any] = {}
        if self.prompt_tokens:
            told |= {"prompt_tokens": self.prompt_tokens, "new_tokens": self.new_tokens}
        if self.answers:
            first = self.answers[0]
            told["finish_reason"] = ",".join(a.finish_reason or "cut off" for a in self.answers)
            told["queue_ms"] = _ms(first.queue_s)
            told["ttft_ms"], told["tpot_ms"] = _ms(first.ttft_s), _ms(first.tpot_s)
        if self.error:
            told["error"] = self.error
        return {name: value for name, value in told.items() if value is not None}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
