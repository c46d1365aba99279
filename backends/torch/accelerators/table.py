"""The table of accelerators: a new one is a file, and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy.backends.torch.accelerators.ascend import Ascend
from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.accelerators.cpu import Cpu
from qdeploy.backends.torch.accelerators.cuda import Cuda
from qdeploy.backends.torch.accelerators.dcu import Dcu
from qdeploy.backends.torch.accelerators.rocm import Rocm
from qdeploy.backends.torch.platforms import Platform
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM, Target

ACCELERATORS: Mapping[Target, type[Accelerator]] = {
    CPU: Cpu,
    CUDA: Cuda,
    ROCM: Rocm,
    DCU: Dcu,
    ASCEND: Ascend,
}
PLATFORMS: Mapping[str, Platform] = {
    target.name: kind.platform for target, kind in ACCELERATORS.items() if kind.platform
}
"""The platform of each target."""
