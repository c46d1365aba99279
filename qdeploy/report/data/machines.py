"""Which machines results come from, and what each is called.

A host's name may be anyone's: machines are told apart by all their facts, and where two share a
name, what they are called says in what they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from qdeploy.results import Machine, Results


def identity(machine: Machine) -> Machine:
    """A machine without its bandwidth, which is another at each measurement."""
    return machine.model_copy(update={"bandwidth_bytes_per_s": None})


def distinct(files: Iterable[Results]) -> list[Machine]:
    """Every machine once, with the median of the bandwidths that its files measured.

    One whose facts changed in between is told twice.
    """
    found: dict[Machine, list[float]] = {}
    for file in files:
        measured = file.machine.bandwidth_bytes_per_s
        found.setdefault(identity(file.machine), []).extend([] if measured is None else [measured])
    return [
        machine.model_copy(update={"bandwidth_bytes_per_s": median(each)}) if each else machine
        for machine, each in found.items()
    ]


def called(files: Iterable[Results]) -> dict[Machine, str]:
    """What each machine is called, by its identity: its name, and what no other of that name has.

    That is the processor; where it is not enough, other facts too, as few as tell them apart.
    """
    named: dict[str, dict[Machine, None]] = {}
    for file in files:
        named.setdefault(file.machine.name, {})[identity(file.machine)] = None
    return {
        machine: words for same in named.values() for machine, words in _apart(list(same)).items()
    }


def _apart(same: Sequence[Machine]) -> dict[Machine, str]:
    columns = zip(*map(_facts, same), strict=True)
    differing = [column for column in columns if len(set(column)) > 1]
    names = [machine.name for machine in same]
    for count in range(1, len(differing) + 1):
        told = [", ".join(filter(None, facts)) for facts in zip(*differing[:count], strict=True)]
        names = [
            f"{m.name} ({words})" if words else m.name for m, words in zip(same, told, strict=True)
        ]
        if len(set(names)) == len(names):
            break
    return dict(zip(same, names, strict=True))


def _facts(machine: Machine) -> tuple[str, ...]:
    """What may tell two machines apart, in words, the best first; empty where it is not known."""
    memory = machine.memory_bytes
    return (
        machine.cpu,
        f"{machine.cores} cores",
        "" if memory is None else f"{memory / 1e9:,.0f} GB",
        f"on {machine.power}" if machine.power else "",
        machine.system,
    )
