"""AMD's GPUs."""

from __future__ import annotations

from functools import partial

from qdeploy.backends.torch.accelerators.dcu import is_dtks
from qdeploy.backends.torch.accelerators.limited import Limit, Limited
from qdeploy.backends.torch.kernels import grouped
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.gpu.experts import INT4_EXPERTS
from qdeploy.backends.torch.kernels.gpu.fp8 import FP8_INPUTS
from qdeploy.backends.torch.kernels.gpu.int4 import INT4
from qdeploy.backends.torch.kernels.gpu.int8 import INT8, INT8_INPUTS
from qdeploy.backends.torch.platforms import Platform, reinstall
from qdeploy.system import drivers
from qdeploy.targets import ROCM

NEEDS = "CDNA2 or later"
CDNA2_OR_LATER = ("gfx90a", "gfx942", "gfx950")
"""`isCDNA2orLater` in aten/src/ATen/native/cuda/int4mm.cu."""

OCP_FLOATS = ("gfx950", "gfx1200", "gfx1201")
"""Those of `scaled_mm_arch_allowed` in ScaledBlasDeviceUtils.cpp with the 8-bit floats of bundles.
gfx942 has others, without a negative zero: `_scaled_mm_is_fnuz` in ScaledBlas.cpp."""


def _has_int4(architecture: str) -> bool:
    return architecture in CDNA2_OR_LATER


def _has_fp8(architecture: str) -> bool:
    return architecture in OCP_FLOATS


class Rocm(Limited):
    target = ROCM.name
    platform = Platform(
        ROCM, "cuda", "ROCm", partial(drivers.amd, ROCM.masks),
        lambda build: build.hip is not None and not is_dtks(build),
        reinstall(ROCM.torch_index),
        check="a container needs --device /dev/kfd --device /dev/dri; `rocminfo` must list the GPU",
    )  # fmt: skip
    kernels = (
        FLOAT,
        Limit(INT4, _has_int4, NEEDS),
        INT8,
        INT8_INPUTS,
        Limit(FP8_INPUTS, _has_fp8, "the 8-bit floats of gfx950, gfx1200 or gfx1201"),
        DEQUANTIZED,
    )
    experts = (
        grouped.FLOAT,
        Limit(INT4_EXPERTS, _has_int4, NEEDS),
        grouped.DEQUANTIZED,
    )
