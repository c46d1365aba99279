"""Compare with what torch_npu's wheel holds.

    python -m tests.support.simulated.vendor WHEEL [DEVICE BUNDLE]...

It defines all operators of the vendor in this process, and runs the vendor's own functions of
shapes and types, so it is a process of its own. The package cannot be imported without CANN, so the
file with these functions is run unchanged among stubs of what it imports. Prints JSON.
"""

from __future__ import annotations

import enum
import json
import sys
import types
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

import qdeploy
from qdeploy.backends.torch.simulated.ascend import schemas, table
from qdeploy.backends.torch.simulated.device import state
from tests.support.simulated import ascend
from tests.support.simulated.case import Case, moved, on, operator

LISTS = tuple(
    f"torch_npu/csrc/aten/npu_native_functions{part}.yaml" for part in ("_by_codegen", "")
)
"""What the vendor's operators are, and which of torch's have a kernel of the vendor's."""
SECTIONS = ("custom", "quant")
FUNCTIONS = "torch_npu/op_plugin/meta/_meta_registrations.py"
FORMATS = {
    "int4": 285, "hifloat8": 290, "float8_e5m2": 291, "float8_e4m3fn": 292, "float8_e8m0fnu": 293,
    "float4_e2m1fn_x2": 296, "float4_e1m2fn_x2": 297,
}  # fmt: skip
"""Numbers of the vendor's types. Only that they differ matters here."""
CODES = ["PARAM", "TYPE", "VALUE", "PTR", "INTERNAL", "MEMORY", "NOT_SUPPORT", "NOT_FOUND"]


checked: Counter[str] = Counter()
"""Calls that the vendor's functions took and gave the same for, by operator."""


def main(wheel: str, *places: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        lists = [yaml.safe_load(archive.read(name)) for name in LISTS]
        functions = archive.read(FUNCTIONS).decode()
    vendors = [entry["func"] for section in SECTIONS for entry in lists[0][section]]
    library = torch.library.Library(schemas.NAMESPACE, "DEF")
    defined = list(define(library, vendors))
    stub()
    exec(compile(functions, FUNCTIONS, "exec"), {"__name__": "vendor"})  # noqa: S102
    for name, kernel in table.KERNELS.items():
        table.KERNELS[name] = watched(name, kernel)
    found = {
        "defined": len(defined),
        "of our own": sorted(set(schemas.SCHEMAS) - set(vendors)),
        "supported": sorted({of_torch(entry) for held in lists for entry in held["supported"]}),
        "calls": [compared(case) for case in ascend.CASES],
        "sessions": [session(*pair) for pair in zip(places[::2], places[1::2], strict=True)],
    }
    print(json.dumps(found))


def of_torch(entry: str | dict[str, str]) -> str:
    """The name without overload of an operator that is listed by its name or its schema."""
    schema = entry if isinstance(entry, str) else entry["func"]
    return schema.partition("(")[0].partition(".")[0]


def define(library: Any, listed: list[str]) -> Iterator[str]:
    """Define the vendor's operators; some are listed twice."""
    for schema in {schema.partition("(")[0]: schema for schema in reversed(listed)}.values():
        yield library.define(schema)


def stub() -> None:
    """Put the modules in place that the vendor's file imports."""
    error = enum.Enum("ErrCode", CODES)  # type: ignore[misc]
    modules: dict[str, dict[str, Any]] = {
        "torch_npu": FORMATS,
        "torch_npu.utils": {},
        "torch_npu.utils._error_code": {"ErrCode": error, "ops_error": lambda code: code.name},
        "torch_npu.npu": {},
        "torch_npu.npu.utils": {"get_cann_version": lambda *_, **__: "8.5.0"},
        "torch_npu.npu._backends": {"get_soc_version": lambda: 220},
    }
    for name, held in modules.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(held)
    sys.modules["torch_npu"].__getattr__ = number  # type: ignore[method-assign]


def number(name: str) -> int:
    """A number that no type has, for types of the vendor that no simulated call names."""
    if name.startswith("__"):
        raise AttributeError(name)
    return -1


def compared(case: Case) -> dict[str, Any]:
    """The shapes and types of a case's results, by us and by the vendor."""
    ours = shapes(case.call(ascend.CHIP))
    try:
        vendors = shapes(on("meta", operator(case.operator), case.right()))
    except NotImplementedError:
        vendors = None
    return {"case": str(case), "ours": ours, "vendors": vendors}


def watched(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A simulated operator, each of whose calls the vendor's function is asked of, too."""

    def run(chip: Any, *args: Any, **kwargs: Any) -> Any:
        made = kernel(chip, *args, **kwargs)
        try:
            vendors = operator(name)(*moved(args, "meta"), **moved(kwargs, "meta"))
        except NotImplementedError:
            return made
        assert shapes(made) == shapes(vendors), f"{name}: {shapes(made)}, not {shapes(vendors)}"
        checked[name] += 1
        return made

    return run


def session(device: str, bundle: str) -> dict[str, Any]:
    """The operators of a session, and those whose calls were compared with the vendor's."""
    operators = state(device).operators
    with qdeploy.load(bundle, device=device, simulate=True, backend="torch") as model:
        operators.clear()
        checked.clear()
        model.score(list(range(5)))
        model.chat("1 + 1", max_new_tokens=3)
    return {"operators": sorted(operators), "checked": dict(checked)}


def shapes(results: Any) -> list[str]:
    tensors = results if isinstance(results, tuple | list) else [results]
    return [f"{tensor.dtype} {list(tensor.shape)}" for tensor in tensors]


if __name__ == "__main__":
    main(*sys.argv[1:])
