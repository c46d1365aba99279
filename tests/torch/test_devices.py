"""Finding devices with the torch that is installed, and with Huawei's package as published."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from qdeploy.backends.torch import build, devices, diagnosis, probe
from qdeploy.errors import TargetUnavailable
from qdeploy.system import drivers
from qdeploy.targets import ASCEND, CPU

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")


def test_the_build_is_read_without_importing_torch() -> None:
    found = build.installed()
    assert (found.version, found.cuda, found.hip) == (
        torch.__version__, torch.version.cuda, torch.version.hip,
    )  # fmt: skip


@pytest.mark.slow
def test_torch_tells_why_it_sees_no_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    facts = probe.probe("cuda")
    assert (facts.found, facts.failed) == ((), None)
    assert facts.said
    if torch.version.cuda:
        assert all(kernel.startswith(("sm_", "compute_")) for kernel in facts.kernels)


@pytest.fixture
def with_torch_npu(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """An environment that has torch_npu, on a machine with an NPU but without CANN."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")  # a wheel from the index
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/davinci0").touch()
    monkeypatch.setattr(drivers.ascend, "__defaults__", (tmp_path,))
    monkeypatch.delenv(ASCEND.masks[0], raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.setattr(diagnosis, "SET_ENV", ())
    return monkeypatch


@pytest.mark.slow
@pytest.mark.usefixtures("with_torch_npu")
def test_torch_npu_without_cann_is_told_and_leaves_torch_whole() -> None:
    if Path("/usr/local/Ascend").exists():
        pytest.skip("this machine has CANN")
    if build.installed().release != (2, 14):
        pytest.skip("the package is for torch 2.14")
    with pytest.raises(TargetUnavailable) as caught:
        devices.find(ASCEND)
    assert caught.value.reason.startswith("torch_npu 2.14.0 does not load without CANN: lib")
    assert caught.value.fix == "install the CANN toolkit, and source its set_env.sh"
    assert probe.probe("cuda").failed is None  # `import torch` alone fails in this environment
    assert [device.id for device in devices.find(CPU)] == ["cpu"]
