"""AMD's GPUs."""

from __future__ import annotations

from qdeploy.backends.torch.accelerators.limited import Limit, Limited
from qdeploy.backends.torch.kernels import grouped
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.gpu.experts import INT4_EXPERTS
from qdeploy.backends.torch.kernels.gpu.int4 import INT4
from qdeploy.backends.torch.kernels.gpu.int8 import INT8, INT8_INPUTS
from qdeploy.targets import ROCM

NEEDS = "CDNA2 or later"
CDNA2_OR_LATER = ("gfx90a", "gfx942", "gfx950")
"""`isCDNA2orLater` in aten/src/ATen/native/cuda/int4mm.cu."""


def _has_int4(architecture: str) -> bool:
    return architecture in CDNA2_OR_LATER


class Rocm(Limited):
    target = ROCM.name
    kernels = (
        FLOAT,
        Limit(INT4, _has_int4, NEEDS),
        INT8,
        INT8_INPUTS,
        DEQUANTIZED,
    )
    experts = (
        grouped.FLOAT,
        Limit(INT4_EXPERTS, _has_int4, NEEDS),
        grouped.DEQUANTIZED,
    )
