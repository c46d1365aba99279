"""Identify the machines of a report and give each a unique name.

Host names are not unique, so machines are compared by all their facts. If two machines share a
name, the facts that differ are added to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from qdeploy.results import Machine, Results


def machine_identity(machine: Machine) -> Machine:
    """Return *machine* without its bandwidth, which varies from one measurement to the next."""
    return machine.model_copy(update={"bandwidth_bytes_per_s": None})


def distinct_machines(files: Iterable[Results]) -> list[Machine]:
    """Every machine once, with the median of the bandwidths measured on it.

    A machine whose facts changed between two files counts as two machines.
    """
    bandwidths: dict[Machine, list[float]] = {}
    for file in files:
        of_machine = bandwidths.setdefault(machine_identity(file.machine), [])
        if file.machine.bandwidth_bytes_per_s is not None:
            of_machine.append(file.machine.bandwidth_bytes_per_s)
    return [
        machine.model_copy(update={"bandwidth_bytes_per_s": median(measured)})
        if measured
        else machine
        for machine, measured in bandwidths.items()
    ]


def machine_names(files: Iterable[Results]) -> dict[Machine, str]:
    """A unique name for each machine, by its identity.

    A shared name is followed by the facts that differ: the CPU first, then as few other facts as
    make the names unique.
    """
    by_name: dict[str, dict[Machine, None]] = {}
    for file in files:
        by_name.setdefault(file.machine.name, {})[machine_identity(file.machine)] = None
    return {
        machine: name
        for machines in by_name.values()
        for machine, name in _unique_names(list(machines)).items()
    }


def _unique_names(machines: Sequence[Machine]) -> dict[Machine, str]:
    """Names for machines that share one name."""
    columns = zip(*map(_facts, machines), strict=True)
    differing = [column for column in columns if len(set(column)) > 1]
    names = [machine.name for machine in machines]
    for count in range(1, len(differing) + 1):
        facts = [", ".join(filter(None, row)) for row in zip(*differing[:count], strict=True)]
        names = [
            f"{machine.name} ({words})" if words else machine.name
            for machine, words in zip(machines, facts, strict=True)
        ]
        if len(set(names)) == len(names):
            break
    return dict(zip(machines, names, strict=True))


def _facts(machine: Machine) -> tuple[str, ...]:
    """Facts that may differ between two machines, the most telling first; empty if unknown."""
    memory = machine.memory_bytes
    return (
        machine.cpu,
        f"{machine.cores} cores",
        "" if memory is None else f"{memory / 1e9:,.0f} GB",
        f"on {machine.power}" if machine.power else "",
        machine.system,
    )
