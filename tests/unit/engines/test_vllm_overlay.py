"""What vLLM for CPUs gets beside it: metadata under the name that it asks for, and a plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qdeploy.engines.vllm import overlay

ASK = """
import importlib.metadata as m, json
points = m.entry_points(group="vllm.platform_plugins")
print(json.dumps([m.version("vllm"), [point.load()() for point in points]]))
"""
USE = """
import sys, types
platforms, cpu = types.ModuleType("vllm.platforms"), types.ModuleType("vllm.platforms.cpu")
cpu.CpuPlatform = type("CpuPlatform", (), {})
sys.modules |= {"vllm": types.ModuleType("vllm"), "vllm.platforms": platforms,
                "vllm.platforms.cpu": cpu}
from qdeploy_ray_on_cpu import RayCpuPlatform as made
import pickle
assert issubclass(made, cpu.CpuPlatform) and pickle.loads(pickle.dumps(made)) is made
print(made.ray_device_key, made.device_control_id_to_physical_device_id("3"))
"""


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("ray", "plugins"), [(True, ["qdeploy_ray_on_cpu.RayCpuPlatform"]), (False, [])]
)
def test_what_vllm_finds(ray: bool, plugins: list[str], tmp_path: Path) -> None:
    overlay.write(tmp_path / "made", "0.32.0", ray=ray)
    assert json.loads(run(ASK, tmp_path / "made")) == ["0.32.0+cpu", plugins]


GENERAL = """
import importlib.metadata as m, json
print(json.dumps([point.load()() for point in m.entry_points(group="vllm.general_plugins")]))
"""


@pytest.mark.parametrize("several", [True, False])
def test_every_server_asks_for_tile_registers(several: bool, tmp_path: Path) -> None:
    """On a machine without them nothing happens."""
    if several:
        overlay.write(tmp_path, "0.32.0", ray=False)
    else:
        overlay.write_alone(tmp_path)
    assert json.loads(run(GENERAL, tmp_path)) == [None]


def test_the_platform_counts_ranks_as_rays_gpus(tmp_path: Path) -> None:
    overlay.write(tmp_path, "0.32.0+cpu", ray=True)
    assert run(USE, tmp_path) == "GPU 3"
