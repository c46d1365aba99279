"""NVIDIA's GPUs."""

from __future__ import annotations

import re
from functools import partial

from qdeploy.backends.torch.accelerators.limited import Limit, Limited
from qdeploy.backends.torch.kernels import grouped
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.gpu.experts import INT4_EXPERTS
from qdeploy.backends.torch.kernels.gpu.fp8 import FP8_INPUTS
from qdeploy.backends.torch.kernels.gpu.int4 import INT4
from qdeploy.backends.torch.kernels.gpu.int8 import INT8, INT8_INPUTS
from qdeploy.backends.torch.platforms import Platform, reinstall
from qdeploy.system import drivers
from qdeploy.targets import CUDA

NEEDS = "compute capability 8.0"


def capability(architecture: str) -> tuple[int, int]:
    """Compute capability of an architecture, (8, 9) of `sm_89`."""
    found = re.fullmatch(r"sm_(\d+)(\d)", architecture)
    assert found, architecture  # noqa: S101
    return int(found[1]), int(found[2])


def _has_int4(architecture: str) -> bool:
    return capability(architecture) >= (8, 0)


def _has_fp8(architecture: str) -> bool:
    """Source: `scaled_mm_arch_allowed` in ScaledBlasDeviceUtils.cpp."""
    return capability(architecture) >= (8, 9)


class Cuda(Limited):
    target = CUDA.name
    platform = Platform(
        CUDA, "cuda", "CUDA", partial(drivers.nvidia, CUDA.masks),
        lambda build: build.cuda is not None,
        reinstall(CUDA.torch_index), systems=("linux", "win32"),
        check="a container needs --gpus all; after sleep, or a change of the driver, restart the "
        "machine",
    )  # fmt: skip
    kernels = (
        FLOAT,
        Limit(INT4, _has_int4, NEEDS),
        INT8,
        INT8_INPUTS,
        Limit(FP8_INPUTS, _has_fp8, "compute capability 8.9"),
        DEQUANTIZED,
    )
    experts = (
        grouped.FLOAT,
        Limit(INT4_EXPERTS, _has_int4, NEEDS),
        grouped.DEQUANTIZED,
    )
