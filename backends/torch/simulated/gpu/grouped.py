"""Products of rows in groups with a matrix for each group. Sources: GroupedBlas.cpp,
GroupedMMUtils.h, and `_meta_grouped_mm_common` in torch/_meta_registrations.py.
"""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.checks import require, told
from qdeploy.backends.torch.simulated.chips import Chip

PRODUCT = "_grouped_mm"


def grouped_mm(
    chip: Chip, x: Any, others: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None
) -> Any:
    """Multiply rows offs[g - 1] to offs[g] of x [M, K] by others[g] of [G, K, N], in bfloat16.

    The result's rows begin at multiples of 16 bytes. Those that belong to no group are not a number
    here; on a device nothing writes them.
    """
    import torch

    require(
        x.dim() == 2 and others.dim() == 3, PRODUCT,
        f"the simulation multiplies [M, K] by [G, K, N] only, not {told(x)} by {told(others)}",
    )  # fmt: skip
    require(
        x.dtype == torch.bfloat16, PRODUCT,
        f"the kernel of all chips is bfloat16's, and got {told(x)}",
    )  # fmt: skip
    # torch's own checks of shapes, strides and types
    like = torch.ops.aten._grouped_mm.default(
        _meta(x), _meta(others), _meta(offs), _meta(bias), out_dtype
    )
    ends = offs.tolist()
    require(
        ends == sorted(ends) and ends[0] >= 0 and ends[-1] <= x.shape[0], PRODUCT,
        f"offs must grow from 0 to at most {x.shape[0]}, got {ends}",
    )  # fmt: skip
    made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).fill_(torch.nan)
    for start, end, other in zip([0, *ends], ends, others, strict=False):
        made[start:end] = x[start:end] @ other
    return made


def _meta(tensor: Any) -> Any:
    import torch

    if tensor is None:
        return None
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
