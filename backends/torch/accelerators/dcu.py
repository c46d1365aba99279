"""Hygon's DCUs.

PyTorch's source refuses `_weight_int4pack_mm` on any architecture that is not AMD's CDNA2 or later,
and Hygon's build is not public, so int4 weights are dequantized for each product.
"""

from __future__ import annotations

from qdeploy.backends.torch.accelerators.limited import Limited
from qdeploy.backends.torch.kernels import grouped
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.gpu.int8 import INT8, INT8_INPUTS
from qdeploy.targets import DCU


class Dcu(Limited):
    target = DCU.name
    kernels = (FLOAT, INT8, INT8_INPUTS, DEQUANTIZED)
    experts = (grouped.FLOAT, grouped.DEQUANTIZED)
