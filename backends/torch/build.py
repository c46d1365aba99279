"""Which build of torch is installed, read without importing it."""

from __future__ import annotations

import re
import runpy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from qdeploy.backends.torch.runtime import INSTALL
from qdeploy.errors import TargetUnavailable

OLDEST = (2, 9)
"""The first version whose `_grouped_mm` runs on every device, by its native_functions.yaml."""


@dataclass(frozen=True)
class Build:
    """A build of torch, as its module `torch.version` describes it.

    Attributes:
        version: e.g. `2.14.1+cu130`.
        cuda: version of CUDA that it is built for, or None.
        hip: version of HIP that it is built for, by AMD or by Hygon, or None.
    """

    version: str
    cuda: str | None = None
    hip: str | None = None

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = re.findall(r"\d+", self.version)[:2]
        return int(major), int(minor)

    @property
    def local(self) -> str:
        """What distinguishes builds of one version, e.g. `cu130`; empty if there is nothing."""
        return self.version.partition("+")[2]

    def __str__(self) -> str:
        if self.cuda:
            return f"torch {self.version}, built for CUDA {self.cuda}"
        return f"torch {self.version}, built for " + (f"HIP {self.hip}" if self.hip else "the CPU")


def installed(install: str = INSTALL) -> Build:
    """Return the build that `import torch` would import; *install* is how to get the right one.

    Raises:
        TargetUnavailable: torch is not installed, too old, or not whole.
    """
    spec = find_spec("torch")
    if spec is None:
        raise TargetUnavailable("torch is not installed", install)
    file = Path(next(iter(spec.submodule_search_locations or ["."])), "version.py")
    if not file.is_file():
        raise TargetUnavailable(
            f"torch is not whole: {file} is missing", f"pip uninstall torch; {install}"
        )
    said = runpy.run_path(str(file))  # assignments only
    found = Build(str(said["__version__"]), said.get("cuda"), said.get("hip"))
    if found.release < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise TargetUnavailable(
            f"torch {found.version} is installed, and {oldest} or later is needed", install
        )
    return found
