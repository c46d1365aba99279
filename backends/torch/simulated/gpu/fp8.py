"""Products of 8-bit floats. Sources: ScaledBlas.cpp, ScaledBlasDeviceUtils.cpp."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.checks import name, require, told
from qdeploy.backends.torch.simulated.chips import Chip

PRODUCT = "_scaled_mm"
MULTIPLE = 16
FNUZ = "gfx942"
"""The one chip whose 8-bit floats have no negative zero: `_scaled_mm_is_fnuz`."""
ROCM = (FNUZ, "gfx950", "gfx1200", "gfx1201")


def scaled_mm(
    chip: Chip, x: Any, other: Any, scale_a: Any, scale_b: Any, bias: Any = None,
    scale_result: Any = None, out_dtype: Any = None, use_fast_accum: bool = False,
) -> Any:  # fmt: skip
    """Multiply E4M3 x [M, K], stored by rows, by E4M3 other [K, N], stored by columns.

    The scales are float32: of one element each, or one for each row of x [M, 1] and one for each
    column of other [1, N]. The bias is [N], of the result's type. Sums are float32.
    """
    import torch

    _check_chip(chip)
    require(
        x.dim() == 2 and other.dim() == 2 and x.shape[1] == other.shape[0], PRODUCT,
        f"mat1 and mat2 shapes cannot be multiplied ({told(x)} and {told(other)})",
    )  # fmt: skip
    by_rows = _check_scales(x, other, scale_a, scale_b)
    require(scale_result is None, PRODUCT, "scale_result is for results of 8 bits")
    for sizes in (x.shape[1:], other.shape):
        require(
            all(size % MULTIPLE == 0 for size in sizes), PRODUCT,
            f"sizes must be divisible by 16, got {told(x)} and {told(other)}",
        )  # fmt: skip
    eights = torch.float8_e4m3fnuz if chip.architecture == FNUZ else torch.float8_e4m3fn
    require(
        x.dtype == other.dtype == eights, PRODUCT,
        f"expected two matrices of {name(eights)}, got {told(x)} and {told(other)}",
    )  # fmt: skip
    require(x.stride(1) == 1, PRODUCT, f"mat1 must be row major, its strides are {x.stride()}")
    require(
        other.stride(0) == 1, PRODUCT,
        f"mat2 must be column major, its strides are {other.stride()}",
    )  # fmt: skip
    dtype = out_dtype or x.dtype
    floats = (torch.bfloat16, torch.float16, torch.float32)
    results = floats if chip.target == "cuda" else floats[:1]
    require(
        dtype in results or not by_rows, PRODUCT,
        f"with a scale for each row, the result is one of {', '.join(map(name, results))}, not "
        f"{name(dtype)}",
    )  # fmt: skip
    made = (x.float() @ other.float()) * scale_a * scale_b
    if bias is not None:
        require(
            bias.numel() == other.shape[1] and bias.dtype == dtype != torch.float32, PRODUCT,
            f"expected a bias of {other.shape[1]} {name(dtype)}, got {told(bias)}",
        )  # fmt: skip
        made = made + bias.float()
    return made.to(dtype)


def _check_chip(chip: Chip) -> None:
    able = chip.capability >= (8, 9) if chip.target == "cuda" else chip.architecture in ROCM
    require(
        able, PRODUCT,
        "is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm MI300+, "
        f"not on {chip.architecture}",
    )  # fmt: skip


def _check_scales(x: Any, other: Any, scale_a: Any, scale_b: Any) -> bool:
    """Whether there is a scale for each row."""
    import torch

    require(
        scale_a.dtype == scale_b.dtype == torch.float32, PRODUCT,
        f"both scales must be float32, got {told(scale_a)} and {told(scale_b)}",
    )  # fmt: skip
    if scale_a.numel() == scale_b.numel() == 1:
        return False
    wanted = (x.shape[0], 1), (1, other.shape[1])
    require(
        (tuple(scale_a.shape), tuple(scale_b.shape)) == wanted
        and scale_a.is_contiguous() and scale_b.is_contiguous(), PRODUCT,
        f"scales are singletons, or contiguous {wanted[0]} and {wanted[1]}, got "
        f"{told(scale_a)} and {told(scale_b)}",
    )  # fmt: skip
    return True
