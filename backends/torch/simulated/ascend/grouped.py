"""Rows in groups, a weight for each group: `npu_grouped_matmul`, in the form that experts take.

That is one x, one weight for all groups and one result (split_item 2 or 3, group_type 0). The
operator has other forms, which are refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.simulated.ascend.packing import unpack
from qdeploy.backends.torch.simulated.ascend.products import INFERENCE, LARGEST_AXIS
from qdeploy.backends.torch.simulated.ascend.types import Row, fits, type_of
from qdeploy.backends.torch.simulated.checks import name, require, told
from qdeploy.backends.torch.simulated.chips import Chip
from qdeploy.backends.torch.simulated.unpacked import once

if TYPE_CHECKING:
    Tensors = Sequence[Any] | None

PRODUCT = "npu_grouped_matmul"
MOST_GROUPS = 1024
COLUMNS_OF_310P = 16
ANTIQUANT = ("antiquant_scale", "antiquant_offset")
ROUNDED = {"x": "int8", "weight": "int8", "per_token_scale": "float32 -"}
WEIGHT_ONLY = {"weight": "int8 int32"}  # with an offset in every row of the vendor's table
TYPES: Mapping[bool, tuple[Row, ...]] = {
    True: ({"x": "float16", "weight": "float16", "output": "float16"},),
    False: (
        *(
            {"x": kind, "weight": kind, "output": kind}
            for kind in ("float16", "bfloat16", "float32")
        ),
        {**ROUNDED, "scale": "bfloat16", "output": "bfloat16"},
        {**ROUNDED, "scale": "float32", "output": "float16"},
        *(
            {**WEIGHT_ONLY, "x": kind, **dict.fromkeys(ANTIQUANT, kind), "output": kind}
            for kind in ("float16", "bfloat16")
        ),
    ),
}
"""The vendor's table, for 310P or not, without results of int8."""


def grouped_matmul(
    chip: Chip, x: Sequence[Any], weight: Sequence[Any], *, scale: Tensors = None,
    antiquant_scale: Tensors = None, antiquant_offset: Tensors = None,
    per_token_scale: Tensors = None, group_list: Any = None, split_item: int = 0,
    group_type: int | None = None, group_list_type: int = 0, output_dtype: int | None = None,
    **others: Any,
) -> list[Any]:  # fmt: skip
    """Multiply each group's rows of x [M, K] by its weight of [G, K, N]; gives [M, N].

    The group_list is int64 [G]: where each group ends, or for group_list_type 1 how many rows it
    has. Inputs and weights are floats of one type; or int8 both, with scales [G, N], and for the
    rows [M]; or floats and int8 or packed int4, with scales and offsets [G, N] or, for int4,
    [G, groups of K, N].
    """
    require(not others, PRODUCT, f"the simulation does not have {', '.join(others)}")
    require(
        len(x) == len(weight) == 1 and x[0].dim() == 2 and weight[0].dim() == 3
        and split_item in (2, 3) and group_type == 0, PRODUCT,
        "the simulation multiplies one x [M, K] by one weight [G, K, N], with split_item 2 or 3 "
        f"and group_type 0; got x {[told(t) for t in x]}, weight {[told(t) for t in weight]}, "
        f"split_item {split_item}, group_type {group_type}",
    )  # fmt: skip
    values, codes = x[0], _codes(weight[0])
    require(
        codes.shape[1] == values.shape[1], PRODUCT,
        f"x {told(values)} does not go with weights {list(codes.shape)}",
    )  # fmt: skip
    for size in (values.shape[1], weight[0].shape[2]):
        require(size <= LARGEST_AXIS, PRODUCT, f"last axes are below 65536, and one is {size}")
    ends = _ends(group_list, group_list_type, len(codes), len(values))
    scales = {
        "scale": scale, "per_token_scale": per_token_scale, "antiquant_scale": antiquant_scale,
        "antiquant_offset": antiquant_offset,
    }  # fmt: skip
    given = {what: tensors[0] for what, tensors in scales.items() if tensors}
    dtype = _check_types(chip, values, weight[0], given, output_dtype)
    _check_shapes(values, codes, weight[0], given)
    made = values.new_empty((len(values), codes.shape[2]), dtype=dtype)
    for group, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        part = values[start:end].float() @ _weight(codes, given, group)
        if "scale" in given:
            part = part * given["scale"][group].float()
        if "per_token_scale" in given:
            part = part * given["per_token_scale"][start:end, None]
        made[start:end] = part.to(dtype)
    return [made]


def _codes(weight: Any) -> Any:
    import torch

    if weight.dtype != torch.int32:
        return weight
    require(weight.is_contiguous(), PRODUCT, "packed weights are contiguous here")
    return once(lambda: unpack(weight), weight)


def _ends(group_list: Any, kind: int, groups: int, rows: int) -> list[int]:
    """The row where each group ends."""
    import torch

    require(
        group_list is not None and group_list.dtype == torch.int64
        and tuple(group_list.shape) == (groups,) and groups <= MOST_GROUPS, PRODUCT,
        f"group_list is int64 [{groups}], of at most {MOST_GROUPS}, got "
        f"{told(group_list)}",
    )  # fmt: skip
    require(kind in (0, 1), PRODUCT, f"group_list_type is 0 or 1, got {kind}")
    require(kind == 0 or groups > 1, PRODUCT, "counts of rows are for two groups and more")
    ends: list[int] = (group_list.cumsum(0) if kind else group_list).tolist()
    grows = all(before <= after for before, after in zip([0, *ends], ends, strict=False))
    require(
        grows and ends[-1] == rows, PRODUCT,
        f"the groups end at {ends}, and x has {rows} rows",
    )  # fmt: skip
    return ends


def _check_types(chip: Chip, x: Any, weight: Any, given: Mapping[str, Any], output: Any) -> Any:
    """Return the type of the result."""
    found = {what: name(t.dtype) for what, t in {"x": x, "weight": weight, **given}.items()}
    rows = [row for row in TYPES[chip.product == INFERENCE] if fits(row, found)]
    listed = ", ".join(f"{what} {kind}" for what, kind in found.items())
    require(bool(rows), PRODUCT, f"{listed} do not go together on {chip.product}")
    dtype = x.dtype if output is None else type_of(output)
    require(
        rows[0]["output"] == name(dtype), PRODUCT, f"{listed} do not make results of {name(dtype)}"
    )
    even = chip.product != INFERENCE or weight.shape[2] % COLUMNS_OF_310P == 0
    require(even, PRODUCT, f"N {weight.shape[2]} is no multiple of 16, which {chip.product} needs")
    return dtype


def _check_shapes(x: Any, codes: Any, weight: Any, given: Mapping[str, Any]) -> None:
    import torch

    groups, columns, count = codes.shape
    for what, tensor in given.items():
        shape = tuple(tensor.shape)
        if what == "per_token_scale":
            fit, wanted = shape == (len(x),), "[M]"
        else:
            fit, wanted = shape == (groups, count), "[G, N]"
        if weight.dtype == torch.int32 and len(shape) == 3:
            fit = shape[::2] == (groups, count) and columns % shape[1] == 0
            wanted = "[G, N] or [G, parts of K, N]"
        require(
            fit, PRODUCT,
            f"{what} is {wanted}, got {told(tensor)} for x {told(x)} and weights {[*codes.shape]}",
        )  # fmt: skip
    shapes = {tuple(given[what].shape) for what in ANTIQUANT if what in given}
    require(len(shapes) < 2, PRODUCT, f"{' and '.join(ANTIQUANT)} have one shape")


def _weight(codes: Any, given: Mapping[str, Any], group: int) -> Any:
    """A group's weight, float32 [K, N]."""
    values = codes[group].float()
    if "antiquant_scale" not in given:
        return values
    scale, offset = (
        part.repeat_interleave(len(values) // len(part), 0)
        for part in (given[what][group].float().view(-1, values.shape[1]) for what in ANTIQUANT)
    )
    return (values + offset) * scale
