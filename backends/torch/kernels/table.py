"""Chooses a row of an accelerator's table for a form of weights."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.backends.torch.kernels.base import ExpertKernel, Form, Kernel
from qdeploy.errors import GenerationFailed


def linear_kernel(kernels: Sequence[Kernel], form: Form, *, where: object) -> Kernel:
    """The first row that takes *form*.

    Raises:
        GenerationFailed: none does, with the reason of each.
    """
    refused = []
    for kernel in kernels:
        reason = kernel.why_not(form)
        if reason is None:
            return kernel
        refused.append(f"{kernel.name}: {reason}")
    raise _none(str(form), refused, where)


def expert_kernel(
    kernels: Sequence[ExpertKernel], outer: Form, inner: Form, *, where: object
) -> ExpertKernel:
    """The first row that takes experts of these forms. Raises like `linear_kernel`."""
    refused = []
    for kernel in kernels:
        reason = kernel.why_not(outer, inner)
        if reason is None:
            return kernel
        refused.append(f"{kernel.name}: {reason}")
    raise _none(f"experts of {outer} and {inner}", refused, where)


def _none(form: str, refused: Sequence[str], where: object) -> GenerationFailed:
    return GenerationFailed(
        f"no kernel multiplies by {form}: {'; '.join(refused)}",
        where=where,
        fix="export with another of the target's profiles (qdeploy profiles), or take another "
        "device",
    )
