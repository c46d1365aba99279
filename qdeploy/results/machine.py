"""Facts about this machine, as results state them."""

from __future__ import annotations

import platform

from qdeploy.results.model import Machine
from qdeploy.system import info


def describe_machine(name: str | None = None) -> Machine:
    """Describe this machine, by the name its owner gives it or its host's. Measures nothing."""
    return Machine(
        name=name or platform.node() or "unnamed",
        system=" ".join((platform.system(), platform.release(), platform.machine())),
        cpu=info.cpu_name(),
        cores=info.cores(),
        memory_bytes=info.memory_bytes(),
        power=info.power(),
    )
