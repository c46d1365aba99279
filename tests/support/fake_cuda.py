"""CUDA tensors that have a device, a shape and a type but no values. This module imports torch."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


def fake_cuda() -> Any:
    """A FakeTensorMode in which `cuda:0` can be used on a machine without one.

    Torch itself arranges that, but not in a process where another accelerator is registered, as the
    simulated one is.
    """
    torch._C._ensureCUDADeviceGuardSet()
    return FakeTensorMode(allow_non_fake_inputs=True)
