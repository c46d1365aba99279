"""Which function runs an operator on a chip.

A vendor's table maps the names of operators to functions of the chip and of the arguments as CPU
tensors. An operator of aten in no table runs as the CPU's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.simulated.chips import Chip

if TYPE_CHECKING:
    from typing import TypeAlias

Kernel: TypeAlias = "Callable[..., Any]"
"""Called with a chip, then as the operator."""

HERE = __name__.rpartition(".")[0]
VENDORS: Mapping[str, str] = {
    "cuda": f"{HERE}.gpu.table",
    "rocm": f"{HERE}.gpu.table",
    "dcu": f"{HERE}.gpu.table",
    "ascend": f"{HERE}.ascend.table",
}
"""The module of a target's `KERNELS`, and of the `SCHEMAS` that it adds to a `NAMESPACE`."""
CPU_ONLY = "_for_cpu"
"""End of the names of aten's operators whose weights are packed for a CPU."""


_libraries: list[Any] = []
"""Keeps the vendors' operators defined: they go with their library."""


def load(chip: Chip) -> None:
    """Define the operators that the chip's vendor adds, but for those that `torch.ops` has."""
    import torch

    vendor = import_module(VENDORS[chip.target])
    there = getattr(torch.ops, vendor.NAMESPACE)
    missing = [schema for schema in vendor.SCHEMAS if not hasattr(there, schema.partition("(")[0])]
    if missing:
        library = torch.library.Library(vendor.NAMESPACE, "FRAGMENT")
        for schema in missing:
            library.define(schema)
        _libraries.append(library)


@cache
def find(chip: Chip, operator: Any) -> Callable[..., Any]:
    """Return what runs *operator* on a chip.

    Raises:
        NotImplementedError: the chip does not have it.
    """
    name = operator._schema.name
    for table in _tables(chip):
        if name in table:
            return partial(table[name], chip)
    known = name.startswith("aten::") and not name.endswith(CPU_ONLY)
    if not known or _is_anothers(chip, operator):
        raise NotImplementedError(f"Could not run '{name}' on a simulated {chip.title}")
    return operator  # type: ignore[no-any-return]


def _is_anothers(chip: Chip, operator: Any) -> bool:
    """Whether only other vendors' devices have it: it is not made of other operators either."""
    others = set(VENDORS.values()) - {VENDORS[chip.target]}
    listed = any(operator._schema.name in import_module(other).KERNELS for other in others)
    return listed and not operator.has_kernel_for_dispatch_key(_composite())


def _composite() -> Any:
    import torch

    return torch._C.DispatchKey.CompositeExplicitAutograd


def _tables(chip: Chip) -> list[Mapping[str, Kernel]]:
    modules = (VENDORS[chip.target], f"{HERE}.common")
    return [import_module(module).KERNELS for module in modules]
