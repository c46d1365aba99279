"""Stubs of what vendors install: their drivers' files and tools, and torch as they build it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CUDA_MODULE = """\
import warnings
from types import SimpleNamespace


def get_arch_list():
    return {kernels!r}


def init():
    {init}


def device_count():
    return len({devices!r})


def get_device_properties(number):
    return SimpleNamespace(**{devices!r}[number])
"""


def nvidia_smi(folder: Path, output: str, code: int = 0) -> Path:
    """Make a `nvidia-smi` that prints *output*."""
    folder.mkdir(exist_ok=True)
    file = folder / "nvidia-smi"
    text = f"import sys\nsys.stdout.write({output!r})\nsys.exit({code})\n"
    file.write_text(f"#!{sys.executable}\n{text}")
    file.chmod(0o755)
    return file


def kernel_driver(root: Path) -> Path:
    """Make the device file of AMD's and Hygon's kernel drivers."""
    (root / "dev").mkdir(parents=True, exist_ok=True)
    (root / "dev/kfd").touch()
    return root


def topology(root: Path, number: int, **properties: int) -> None:
    """Make a node of the kernel driver's topology."""
    node = root / "sys/class/kfd/kfd/topology/nodes" / str(number)
    (node / "mem_banks/0").mkdir(parents=True)
    lines = "".join(f"{name} {value}\n" for name, value in properties.items())
    (node / "properties").write_text(lines)
    (node / "mem_banks/0/properties").write_text(f"heap_type 1\nsize_in_bytes {2**34 + number}\n")


def torch(
    folder: Path,
    version: str,
    *,
    cuda: str | None = None,
    hip: str | None = None,
    kernels: Sequence[str] = (),
    devices: Sequence[Mapping[str, Any]] = (),
    init: str = "pass",
) -> None:
    """Make a package `torch` of a build, for `sys.path`; *init* is what `torch.cuda.init` runs."""
    package = folder / "torch"
    package.mkdir(parents=True)
    (package / "version.py").write_text(
        f"__version__ = {version!r}\ncuda = {cuda!r}\nhip = {hip!r}\n"
    )
    (package / "__init__.py").write_text("from torch import cuda, version\n")
    (package / "cuda.py").write_text(
        CUDA_MODULE.format(kernels=list(kernels), devices=[dict(d) for d in devices], init=init)
    )


def torch_npu(
    folder: Path, version: str, *, wants: str = "", devices: Sequence[str] = (), fails: str = ""
) -> None:
    """Make a package `torch_npu` with NPUs of these names, for `sys.path`.

    *wants* is the version of torch that it requires, as in `==2.14.0.*`; *fails* is a statement
    that it runs when it is imported.
    """
    package = folder / "torch_npu"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"{fails}\nfrom torch_npu import npu\n")
    (package / "npu.py").write_text(
        f"from types import SimpleNamespace\nNAMES = {list(devices)!r}\n\n\n"
        "def device_count():\n    return len(NAMES)\n\n\n"
        "def get_device_properties(number):\n"
        f"    return SimpleNamespace(name=NAMES[number], total_memory={2**36})\n"
    )
    about = folder / f"torch_npu-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: torch_npu\nVersion: {version}\n"
        + (f"Requires-Dist: torch{wants}\n" if wants else "")
    )
