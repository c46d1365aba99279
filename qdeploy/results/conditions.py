"""What else happened on a machine while it was measured."""

from __future__ import annotations

from qdeploy.storage.toml_file import Strict


class Conditions(Strict):
    """Load from other work on the machine during the measurement.

    Attributes:
        load_average: one-minute load average at the start and at the end; None except on POSIX.
        cpu_steal: fraction of CPU time, 0 to 1, that the hypervisor gave to other guests; None
            except on Linux.
    """

    load_average: tuple[float, float] | None = None
    cpu_steal: float | None = None
