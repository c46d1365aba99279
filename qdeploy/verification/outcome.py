"""What a verification found: one row for each comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qdeploy.errors import CheckFailed, TargetUnavailable


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        part: `text`, `float model` or `bundle`.
        name: what was compared.
        found: what it came to, for people.
        failure: what differs and where first; None where both sides are the same.
        skipped: why it was not done here, or None.
    """

    part: str
    name: str
    found: str
    failure: str | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class Distance:
    """How far one stage of the model is from the same stage in transformers.

    Attributes:
        stage: `embedding`, `layer 0` and so on; the last layer includes the last norm.
        difference: the largest norm of the difference of a token's hidden states, as a fraction of
            the norm of transformers' hidden state.
    """

    stage: str
    difference: float


@dataclass(frozen=True)
class Outcome:
    """All comparisons of one verification, in their order.

    Attributes:
        bundle: the bundle's directory.
        against: name of the checkpoint that it was compared with.
        tools: versions of the libraries that computed the other side.
        layers: distances of the float model, from the embedding on.
        absent: why the bundle could not be run here, or None.
    """

    bundle: Path
    against: str
    tools: dict[str, str]
    checks: tuple[Check, ...]
    layers: tuple[Distance, ...] = ()
    absent: TargetUnavailable | None = None

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.failure)

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {
            "ok": not self.failures and self.absent is None,
            "against": self.against,
            "tools": self.tools,
            "checks": [asdict(check) for check in self.checks],
            "layers": [asdict(layer) for layer in self.layers],
        }

    def check(self) -> None:
        """Fail where something differs, or where the bundle was not run.

        Raises:
            CheckFailed: a comparison failed; the message has the first failure of each part.
            TargetUnavailable: nothing differs, but the bundle's target is absent here.
        """
        if self.failures:
            raise CheckFailed(
                f"not the same as transformers' {self.against}: "
                + "; ".join(f"{c.name}: {c.failure}" for c in _first_of_each_part(self.failures)),
                where=self.bundle,
                fix="do not deploy this bundle; report the difference together with the output of "
                "qdeploy verify --json",
            )
        if self.absent:
            raise self.absent


def _first_of_each_part(checks: Iterable[Check]) -> list[Check]:
    first: dict[str, Check] = {}
    for check in checks:
        first.setdefault(check.part, check)
    return list(first.values())
