"""AMD's GPUs."""

from __future__ import annotations

from qdeploy.backends.torch.accelerators.gpu import Gpu, Limit
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.gpu.int4 import INT4
from qdeploy.backends.torch.kernels.gpu.int8 import INT8, INT8_INPUTS
from qdeploy.targets import ROCM

CDNA2_OR_LATER = ("gfx90a", "gfx942", "gfx950")
"""`isCDNA2orLater` in aten/src/ATen/native/cuda/int4mm.cu."""


class Rocm(Gpu):
    target = ROCM.name
    kernels = (
        FLOAT,
        Limit(INT4, lambda name: name in CDNA2_OR_LATER, "CDNA2 or later"),
        INT8,
        INT8_INPUTS,
        DEQUANTIZED,
    )
