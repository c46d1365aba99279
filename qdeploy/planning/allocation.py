"""The choice of one option for each unit that has the least total loss within a limit of bytes.

This is the multiple-choice knapsack problem (Sinha and Zoltners, 1979, "The Multiple-Choice
Knapsack Problem", Operations Research 27). Of each unit, the options on the lower convex hull of
loss over bytes are steps of falling gain a byte. Taking the steps of all units in that order
minimizes loss + lambda * bytes for some lambda; where the next step does not fit, it is exact for
the bytes used so far. From there on, what does not fit is passed over, and smaller steps, also to
options above the hull, are taken in the same order.

The loss is above the least one by less than the gain of the first step that did not fit, and a
higher limit never gives a higher loss: up to where two limits first differ, they take the same
steps; there the higher one takes a step that does not fit into the other's rest, and all that the
other one can still take there has a lower gain a byte and fewer bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from math import isfinite


@dataclass(frozen=True)
class Option:
    """What one unit may be stored as.

    Attributes:
        nbytes: bytes of the unit.
        loss: what it costs in quality, in any unit, finite and not negative.
    """

    nbytes: int
    loss: float


@dataclass(frozen=True)
class Allocation:
    """An option for each unit.

    Attributes:
        chosen: number of the option of each unit.
        nbytes, loss: of all units together.
    """

    chosen: tuple[int, ...]
    nbytes: int
    loss: float


Units = Sequence[Sequence[Option]]


def least_bytes(units: Units) -> int:
    """Bytes of the smallest options of all units."""
    return sum(min(option.nbytes for option in options) for options in units)


def most_bytes(units: Units) -> int:
    """Bytes of the options of least loss; more bytes lower no loss."""
    return sum(min((option.loss, option.nbytes) for option in options)[1] for options in units)


def allocate(units: Units, limit: int) -> Allocation:
    """Choose an option of each unit, so that all take at most *limit* bytes.

    Equal arguments give equal results. Of options with equal bytes and loss the first is taken.

    Raises:
        ValueError: a unit has no option, a loss is not finite or negative, or the smallest options
            take more than *limit*.
    """
    for number, options in enumerate(units):
        if not options:
            raise ValueError(f"unit {number} has no option")
        if not all(isfinite(option.loss) and option.loss >= 0 for option in options):
            raise ValueError(f"a loss of unit {number} is not finite, or negative")
    room = limit - least_bytes(units)
    if room < 0:
        raise ValueError(f"the smallest options take {-room} bytes more than the limit of {limit}")
    fronts = [_front(options) for options in units]
    chosen = _climb([[units[n][i] for i in front] for n, front in enumerate(fronts)], room)
    found = tuple(front[place] for front, place in zip(fronts, chosen, strict=True))
    taken = [units[number][option] for number, option in enumerate(found)]
    return Allocation(found, sum(o.nbytes for o in taken), sum(o.loss for o in taken))


def _front(options: Sequence[Option]) -> list[int]:
    """Numbers of the options that no other one beats: by rising bytes and falling loss."""
    order = sorted(range(len(options)), key=lambda i: (options[i].nbytes, options[i].loss, i))
    front = order[:1]
    for number in order[1:]:
        if options[number].loss < options[front[-1]].loss:
            front.append(number)
    return front


def _hull(front: Sequence[Option]) -> list[int]:
    """Places in *front* on the lower convex hull."""
    hull: list[int] = []
    for place in range(len(front)):
        while len(hull) > 1 and _gain(front, hull[-2], hull[-1]) <= _gain(front, hull[-2], place):
            hull.pop()
        hull.append(place)
    return hull


def _gain(front: Sequence[Option], start: int, end: int) -> float:
    """Loss that is saved for each byte that is added."""
    saved = front[start].loss - front[end].loss
    return saved / (front[end].nbytes - front[start].nbytes)


def _climb(fronts: Units, room: int) -> list[int]:
    """Places in the fronts, from the smallest ones up, that take at most *room* bytes more."""
    hulls = [_hull(front) for front in fronts]
    places = [0] * len(fronts)
    # the gain a byte, negative for the heap; the unit; from which place, to which one
    steps: list[tuple[float, int, int, int]] = []

    def offer(unit: int, start: int, end: int) -> None:
        heappush(steps, (-_gain(fronts[unit], start, end), unit, start, end))

    following = [dict(pairwise(hull)) for hull in hulls]
    for unit, steps_of in enumerate(following):
        if 0 in steps_of:
            offer(unit, 0, steps_of[0])
    while steps:
        _, unit, start, end = heappop(steps)
        if places[unit] != start:
            continue
        front, after = fronts[unit], following[unit]
        added = front[end].nbytes - front[start].nbytes
        if added <= room:
            room -= added
            places[unit] = end
            if end in after:
                offer(unit, end, after[end])
        elif after.get(start) == end:
            for between in range(start + 1, end):
                offer(unit, start, between)
    return places
