"""Describe this machine for a results file."""

from __future__ import annotations

import platform

from qdeploy.results.subject import Machine
from qdeploy.system import info


def describe_machine(name: str | None = None) -> Machine:
    """Describe this machine, named *name* or by its host name. Measures nothing."""
    return Machine(
        name=name or platform.node() or "unnamed",
        system=" ".join((platform.system(), platform.release(), platform.machine())),
        cpu=info.cpu_name(),
        cores=info.cores(),
        memory_bytes=info.memory_bytes(),
        power=info.power(),
    )
