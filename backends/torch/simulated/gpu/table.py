"""Operators of CUDA and HIP devices, by name."""

from __future__ import annotations

from qdeploy.backends.torch.simulated.gpu import fp8, grouped, int4, int8

KERNELS = {**int4.KERNELS, **int8.KERNELS, **fp8.KERNELS, **grouped.KERNELS}
