"""`Program`: the steps of a model's forward, recorded once from its architecture's description.

A description (`qdeploy.architectures`) names weights and says what is done with them. Recording
binds the weights, on the device of each, and notes which value is used for the last time where. A
run is then a loop over bound functions: no name is built, and no value is kept, on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.engine.passes import Pass

if TYPE_CHECKING:
    Tensor = Any

Function = Callable[..., Any]
"""Given the pass and the inputs; gives one tensor, or one for each output."""


@dataclass(frozen=True)
class Step:
    """One function, by the numbers of the values that it reads and makes.

    Attributes:
        last: values that no later step reads.
    """

    function: Function
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    last: tuple[int, ...] = ()


class Program:
    """A list of steps; the output of the last one is the result."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = _with_last_uses(steps)
        self._values = 1 + max(max(step.outputs) for step in steps)
        self._result = steps[-1].outputs[0]

    def run(self, now: Pass) -> Tensor:
        """Run all steps; gives the hidden states [L, H]."""
        values: list[Any] = [None] * self._values
        for step in self._steps:
            made = step.function(now, *[values[i] for i in step.inputs])
            for number in step.last:
                values[number] = None
            if len(step.outputs) == 1:
                values[step.outputs[0]] = made
            else:
                for number, value in zip(step.outputs, made, strict=True):
                    values[number] = value
            del made
        return values[self._result]


def _with_last_uses(steps: Sequence[Step]) -> list[Step]:
    later: set[int] = set()
    found = []
    for step in reversed(steps):
        last = tuple(i for i in dict.fromkeys(step.inputs) if i not in later)
        later.update(step.inputs)
        found.append(replace(step, last=last))
    return found[::-1]
