"""The commands where a vendor's driver and torch are stubs: what is listed, and exit code 3."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import vendors
from tests.support.command import Command, Result

pytestmark = pytest.mark.skipif(os.name != "posix", reason="tools are replaced by shell scripts")

SMI = "".join(f"GPU-a{i}, NVIDIA L4, 23034, 580.95\n" for i in range(2))
L4 = {"name": "NVIDIA L4", "total_memory": 23 * 10**9, "major": 8, "minor": 9}
RUN = ("run", "qwen3-nano", "hi", "--target", "cuda", "--backend", "torch")


class Machine(Command):
    """The command on a machine with two GPUs of NVIDIA's."""

    @property
    def site(self) -> Path:
        return self.folder.parent / "site"

    def __call__(self, *arguments: str | Path, stdin: str | bytes = "", **changes: str) -> Result:
        tools = vendors.nvidia_smi(self.folder.parent / "bin", SMI).parent
        path = {
            "PATH": os.pathsep.join([str(tools), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(self.site), self.environment()["PYTHONPATH"]]),
        }
        return super().__call__(*arguments, stdin=stdin, **path | changes)


@pytest.fixture
def machine(qdeploy: Command, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Machine(qdeploy.folder, qdeploy.plugins)


def test_targets_lists_what_torch_sees_of_the_hardware(machine: Machine) -> None:
    vendors.torch(machine.site, "2.14.1", cuda="13.0", kernels=["sm_80", "sm_90"], devices=[L4] * 2)
    rows = machine("targets", "--json").json["targets"]
    found = [row for row in rows if row["target"] == "cuda" and row["backend"] == "torch"]
    assert [row["device"] for row in found] == ["cuda:0: NVIDIA L4", "cuda:1: NVIDIA L4"]
    assert {(row["driver"], row["architecture"], row["evidence"]) for row in found} == {
        ("580.95", "sm_89", "device")
    }


def test_a_build_of_torch_without_cuda_is_exit_code_3_before_any_export(machine: Machine) -> None:
    vendors.torch(machine.site, "2.14.1+cpu")
    machine(*RUN).fails(
        3, "torch 2.14.1+cpu, built for the CPU only, not for CUDA", "fix: pip install",
        "https://download.pytorch.org/whl/cu130",
    )  # fmt: skip
    assert list(machine.folder.iterdir()) == []


def test_a_mask_that_hides_all_gpus_is_exit_code_3(machine: Machine) -> None:
    vendors.torch(machine.site, "2.14.1", cuda="13.0", kernels=["sm_80"], devices=[L4] * 2)
    machine(*RUN, CUDA_VISIBLE_DEVICES="").fails(
        3, "every device is hidden: CUDA_VISIBLE_DEVICES is ''", "fix: unset CUDA_VISIBLE_DEVICES"
    )


def test_devices_that_are_not_there_are_bad_input(machine: Machine) -> None:
    vendors.torch(machine.site, "2.14.1", cuda="13.0", kernels=["sm_80"], devices=[L4] * 2)
    machine(*RUN, "--device", "cuda:7").fails(
        2, "there is no device cuda:7", "0: NVIDIA L4 (cuda:0), 1: NVIDIA L4 (cuda:1)"
    )
