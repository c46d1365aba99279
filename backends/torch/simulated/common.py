"""Operators that every accelerator has, and that the CPU does not have in the same way."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.chips import Chip


def histc(chip: Chip, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Count integers, which the CPU counts as floats only. transformers counts experts by it."""
    import torch

    counts = torch.ops.aten.histc.default
    return counts(x if x.is_floating_point() else x.float(), *args, **kwargs).to(x.dtype)


def has_compatible_shallow_copy_type(chip: Chip, x: Any, source: Any) -> bool:
    """Whether `x.data = source` may be written: never, for data is not in the tensor itself.

    `torch.nn.Module.to` asks, and makes a new parameter then.
    """
    return False


KERNELS = {
    "aten::histc": histc,
    "aten::_has_compatible_shallow_copy_type": has_compatible_shallow_copy_type,
}
