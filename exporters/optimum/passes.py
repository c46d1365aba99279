"""Maps planned precisions to calls of `nncf.compress_weights`, one call per precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qdeploy.exporters.optimum.slots import Constant, Slot, key_of
from qdeploy.quantization.precision import PER_CHANNEL, Precision

FLOAT = "fp16"


@dataclass(frozen=True)
class Pass:
    """One call of `nncf.compress_weights`.

    Attributes:
        constants: names of the constants to quantize; every other weight is ignored.
    """

    precision: Precision
    constants: frozenset[str]

    @property
    def mode(self) -> str:
        """The value of `nncf.CompressWeightsMode`."""
        if self.precision.dtype == "nf4":
            return "nf4"
        return f"{self.precision.dtype}_{'sym' if self.precision.symmetric else 'asym'}"

    @property
    def options(self) -> dict[str, Any]:
        """The other arguments, besides mode and ignored scope.

        They disable NNCF's own choices (ratio, exempt layers, data-free AWQ), since the plan
        decides. NNCF does not accept them for int8.
        """
        if self.precision.dtype == "int8":
            return {}
        return {
            "group_size": self.precision.group_size,
            "ratio": 1.0,
            "all_layers": True,
            "awq": False,
        }


def passes(wanted: dict[str, Slot], constants: Iterable[Constant]) -> list[Pass]:
    """Return the calls that quantize *constants* to the precisions of their slots."""
    members: dict[Precision, set[str]] = {}
    for constant in constants:
        precision = wanted[key_of(constant)].precision
        if precision.dtype != FLOAT:
            members.setdefault(precision, set()).add(constant.name)
    return [
        Pass(precision, frozenset(names))
        for precision, names in sorted(members.items(), key=lambda item: str(item[0]))
    ]


def why_not(precision: Precision) -> str | None:
    """Return why NNCF cannot store a weight this way, or None if it can."""
    if precision.dtype == "fp8":
        return "it does not write fp8"
    if precision.dtype == "int8" and precision.group_size != PER_CHANNEL:
        return f"{precision}: NNCF stores int8 with one scale a row only (group_size = -1)"
    return None
