"""torch_npu: absent, for another torch, without CANN, and beside another vendor's GPUs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qdeploy.backends.torch import devices, diagnosis
from qdeploy.errors import TargetUnavailable
from qdeploy.targets import ASCEND, CPU
from tests.support import vendors
from tests.unit.backends.torch.conftest import Machine

NO_CANN = 'raise ImportError("libhccl.so: cannot open shared object file: No such file")'


def absence() -> tuple[str, str]:
    with pytest.raises(TargetUnavailable) as caught:
        devices.find(ASCEND)
    return caught.value.reason, caught.value.fix or ""


def test_without_torch_npu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    vendors.torch(machine("ascend"), "2.14.0+cpu")
    monkeypatch.setattr(devices, "find_spec", lambda _: None)
    assert absence() == ("torch-npu is not installed", "pip install 'qdeploy[torch-npu]'")


def test_torch_npu_for_another_torch(machine: Machine) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cpu")
    vendors.torch_npu(folder, "2.10.0.post4", wants="==2.10.0")
    said, fix = absence()
    assert said == "torch_npu 2.10.0.post4 is for torch==2.10.0, and torch 2.14.0+cpu is installed"
    assert fix == "pip install 'torch==2.10.0' torch-npu==2.10.0.post4"


@pytest.mark.parametrize("wants", ["==2.14.0.*", ""])
def test_torch_npu_that_does_not_fit_shows_when_it_is_imported(
    wants: str, machine: Machine
) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.1+cpu")
    broken = 'raise ImportError("libtorch_npu.so: undefined symbol: _ZNK3c1010TensorImpl")'
    vendors.torch_npu(folder, "2.14.0", wants=wants, fails=broken)
    said, fix = absence()
    assert f"torch_npu 2.14.0 is for torch{wants or '==2.14.*'}, and torch 2.14.1+cpu" in said
    assert fix == f"pip install 'torch{wants or '==2.14.*'}' torch-npu==2.14.0"


def test_without_cann(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cpu")
    vendors.torch_npu(folder, "2.14.0", fails=NO_CANN)
    monkeypatch.setattr(diagnosis, "SET_ENV", (str(tmp_path / "set_env.sh"),))
    said, fix = absence()
    assert said.startswith("torch_npu 2.14.0 does not load without CANN: libhccl.so: cannot open")
    assert fix == "install the CANN toolkit, and source its set_env.sh"
    (tmp_path / "set_env.sh").touch()
    assert absence()[1] == f"source {tmp_path / 'set_env.sh'}"
    assert [device.id for device in devices.find(CPU)] == ["cpu"]  # which needs none of it


def test_torch_npu_in_a_folder_that_is_no_distribution(machine: Machine) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cpu")
    vendors.torch_npu(folder, "2.14.0", fails=NO_CANN)
    shutil.rmtree(folder / "torch_npu-2.14.0.dist-info")
    assert absence()[0].startswith("torch_npu does not load without CANN: libhccl.so")


def test_without_the_drivers_library(machine: Machine) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cpu")
    vendors.torch_npu(folder, "2.14.0", fails='raise ImportError("libascend_hal.so: missing")')
    said, fix = absence()
    assert "does not find the NPU driver's library" in said
    assert fix.startswith("export LD_LIBRARY_PATH=/usr/local/Ascend/driver/lib64/driver:")


def test_beside_nvidias_gpus(machine: Machine) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cu130", cuda="13.0")
    both = 'raise RuntimeError("Two accelerators cannot be used at the same time: npu and cuda.")'
    vendors.torch_npu(folder, "2.14.0", fails=both)
    said, fix = absence()
    assert "does not run beside NVIDIA's GPUs" in said
    assert "export CUDA_VISIBLE_DEVICES= " in fix
    assert fix.endswith("torch==2.14.0 --index-url https://download.pytorch.org/whl/cpu")


def test_npus_that_another_process_holds(machine: Machine) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cpu")
    vendors.torch_npu(folder, "2.14.0")
    said, fix = absence()
    assert said == "torch 2.14.0+cpu finds no device, though the driver lists Ascend NPU 0"
    assert "npu-smi info" in fix
