"""A peer: a library that runs bundles of one format without qdeploy, to be measured beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PeerRun = Callable[[Sequence[int], int], tuple[float, Sequence[float]]]
"""Continue token ids by so many new tokens, greedily. Returns the `time.perf_counter()` seconds of
the start and of each token."""


@dataclass(frozen=True)
class Peer:
    """A library that runs bundles of one format, the way its own users do.

    Attributes:
        distribution: its name on the package index; the format's row names it in `peer`.
        module: its name in Python.
        needs: a file of the bundle that it cannot do without.
        load: takes the bundle's folder, the device's id and the number of CPU threads to compute
            with; None where the device is not a CPU, or its number of threads is unknown.
        targets: those that it runs the bundle on without other settings; None is any.
    """

    distribution: str
    module: str
    needs: str
    load: Callable[[Path, str, int | None], PeerRun]
    targets: tuple[str, ...] | None = None
