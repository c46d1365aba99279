"""Hygon's DCUs.

PyTorch's source refuses `_weight_int4pack_mm` on any architecture that is not AMD's CDNA2 or later,
and Hygon's build is not public, so int4 weights are dequantized for each product.
"""

from __future__ import annotations

from functools import partial

from qdeploy.backends.torch.accelerators.limited import Limited
from qdeploy.backends.torch.build import Build
from qdeploy.backends.torch.kernels import grouped
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.gpu.int8 import INT8, INT8_INPUTS
from qdeploy.backends.torch.platforms import Platform
from qdeploy.system import drivers
from qdeploy.targets import DCU


def is_dtks(build: Build) -> bool:
    """Whether a build is Hygon's, whose versions read 2.9.0+das.opt1.dtk2604."""
    return "das" in build.local or "dtk" in build.local


class Dcu(Limited):
    target = DCU.name
    platform = Platform(
        DCU, "cuda", "DTK", partial(drivers.dcu, DCU.masks),
        # AMD's have a binary interface of their own; a build from source is not known by its name
        lambda build: build.hip is not None and not build.local.startswith("rocm"),
        "install Hygon's build of torch for the version of DTK that is here, from "
        "https://download.sourcefind.cn:65024/4/main",
        check="source /opt/dtk/env.sh; `hy-smi` must list the DCU",
    )  # fmt: skip
    kernels = (FLOAT, INT8, INT8_INPUTS, DEQUANTIZED)
    experts = (grouped.FLOAT, grouped.DEQUANTIZED)
