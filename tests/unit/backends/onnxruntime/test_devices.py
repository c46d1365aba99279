"""Finding devices: packages, libraries and drivers that are missing, each with its fix."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from qdeploy.backends.onnxruntime import (
    OnnxRuntimeBackend,
    devices,
    probe,
    runtime,
    simulated_devices,
)
from qdeploy.backends.onnxruntime.providers import FOR_TARGET, PROVIDERS, Driver, Provider
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system import info
from qdeploy.system.drivers import Hardware
from qdeploy.system.worker import WorkerFailed
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM, WEBGPU, Evidence, Target

RTX_PROVIDER = "NvTensorRTRTXExecutionProvider"
RTX = Hardware("NVIDIA GeForce RTX 4090", 2**34, "575.57")
NEEDS_ORT = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]")
NEEDS_WEBGPU = pytest.mark.skipif(
    not find_spec("onnxruntime_ep_webgpu"), reason="needs qdeploy[webgpu]"
)


def absence(target: Target) -> TargetUnavailable:
    with pytest.raises(TargetUnavailable) as caught:
        OnnxRuntimeBackend().devices(target)
    return caught.value


@pytest.fixture(autouse=True)
def _intel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU be Intel's, which OpenVINO's provider takes."""
    monkeypatch.setattr(info, "cpu_vendor", lambda *_: "Intel")


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> Callable[[Provider], None]:
    """Let the driver of a provider list one device."""

    def arrange(provider: Provider) -> None:
        assert provider.driver
        monkeypatch.setattr(devices, "SYSTEM", "linux")
        monkeypatch.setattr(
            devices, "_hardware", lambda driver: [RTX] if driver is provider.driver else []
        )

    return arrange


@NEEDS_ORT
def test_any_cpu_serves() -> None:
    (found,) = OnnxRuntimeBackend().devices(CPU)
    assert (found.id, found.evidence) == ("CPUExecutionProvider", Evidence.DEVICE)
    assert found.name


@pytest.mark.parametrize(
    ("target", "present", "reason"),
    [
        (CUDA, shutil.which("nvidia-smi"), "no NVIDIA driver"),
        (ROCM, os.path.exists("/dev/kfd"), "no AMD GPU"),
        (ASCEND, os.path.exists("/dev/davinci0"), "no Ascend NPU"),
    ],
    ids=str,
)
def test_absent_hardware_is_told_for_real(target: Target, present: object, reason: str) -> None:
    if present:
        pytest.skip(f"this machine has {target.name}")
    if not sys.platform.startswith(FOR_TARGET[target.name][0].systems):
        pytest.skip("there are no packages for this system")
    absent = absence(target)
    assert reason in absent.reason
    assert "install" in (absent.fix or "")
    assert ("--simulate" in (absent.fix or "")) == (target in (ROCM, ASCEND))


@NEEDS_ORT
@pytest.mark.parametrize(
    ("system", "targets", "only"),
    [("darwin", [CUDA], "Linux and Windows"), ("darwin", [ROCM, ASCEND], "Linux"),
     ("win32", [ROCM, ASCEND], "Linux")],
)  # fmt: skip
def test_a_system_for_which_there_is_no_package_is_not_told_to_install_it(
    system: str, targets: list[Target], only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "SYSTEM", system)
    for target in targets:
        absent = absence(target)
        assert absent.reason.endswith(f"is built for {only} only")
        assert absent.fix == "--target cpu"
    assert OnnxRuntimeBackend().devices(CPU)  # what the fix says


@NEEDS_ORT
@NEEDS_WEBGPU
def test_a_machine_without_a_gpu_has_no_webgpu() -> None:
    """Asked for real, in a worker process; a software GPU is not one unless simulating."""
    if os.path.isdir("/dev/dri") or not sys.platform.startswith("linux"):
        pytest.skip("this machine may have a GPU")
    absent = absence(WEBGPU)
    assert "WebGpuExecutionProvider finds no device" in absent.reason
    assert "--simulate" in (absent.fix or "")


@NEEDS_ORT
@pytest.mark.parametrize("target", [CUDA, ROCM, ASCEND], ids=str)
def test_the_cpus_onnxruntime_lacks_the_provider(
    target: Target, driven: Callable[[Provider], None]
) -> None:
    provider = FOR_TARGET[target.name][0]
    if runtime.provider_library(provider).is_file():
        pytest.skip(f"this onnxruntime has {provider.name}")
    driven(provider)
    absent = absence(target)
    assert absent.reason == f"the onnxruntime that is installed has no {provider.name}"
    fix, *others = (absent.fix or "").split("; or ")
    extra = {CUDA: "cuda", ROCM: "rocm", ASCEND: "ascend"}[target]
    assert fix == f"pip uninstall onnxruntime onnxruntime-genai; pip install 'qdeploy[{extra}]'"
    assert len(others) == (target is CUDA)


@NEEDS_ORT
def test_a_provider_whose_library_needs_what_is_missing(
    tmp_path: Path, driven: Callable[[Provider], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker process tries; what the loader says, says which library."""
    provider = FOR_TARGET[ROCM.name][0]
    library = tmp_path / "provider.so"
    library.write_bytes(b"not a library")
    driven(provider)
    monkeypatch.setattr(runtime, "provider_library", lambda _: library)
    monkeypatch.setattr(probe, "run_worker", lambda *_, **__: probe.load(provider))
    absent = absence(ROCM)
    assert "MIGraphXExecutionProvider does not load" in absent.reason
    assert "apt install migraphx" in (absent.fix or "")


@NEEDS_ORT
def test_several_gpus_are_numbered(
    tmp_path: Path, driven: Callable[[Provider], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library").touch()
    monkeypatch.setattr(runtime, "provider_library", lambda _: tmp_path / "library")
    monkeypatch.setattr(probe, "run_worker", lambda *_, **__: [])
    monkeypatch.setattr(devices, "_hardware", lambda _: [RTX, RTX])
    found = OnnxRuntimeBackend().devices(CUDA)
    assert [d.id for d in found] == ["CUDAExecutionProvider:0", "CUDAExecutionProvider:1"]
    assert found[0] == Device(found[0].id, RTX.name, "cuda", RTX.memory_bytes, RTX.driver)


@NEEDS_ORT
def test_cuda_is_made_to_number_as_its_driver_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    runtime.load()
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"  # the user's own stays
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    runtime.load()
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@NEEDS_ORT
def test_a_plugins_names_stay_where_a_mask_may_order_the_drivers(
    with_rtx: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "provider_library", lambda _: Path("missing"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert {d.name for d in OnnxRuntimeBackend().devices(CUDA)} == {"NVIDIA"}


@pytest.fixture
def with_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two GPUs, none hidden, that has the plugin of TensorRT for RTX."""
    for name in (*CUDA.masks, *ROCM.masks):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "_hardware", lambda _: [RTX, RTX])
    monkeypatch.setattr(runtime, "plugin_library", lambda _: "library")
    ids = [{"id": f"{RTX_PROVIDER}:{i}", "name": "NVIDIA", "memory_bytes": None} for i in (0, 1)]
    monkeypatch.setattr(
        probe, "run_worker", lambda _, job, **__: ids if job == ["cuda", RTX_PROVIDER] else []
    )


@NEEDS_ORT
def test_every_provider_that_is_there_is_listed_the_preferred_first(
    tmp_path: Path, with_rtx: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library").touch()
    monkeypatch.setattr(runtime, "provider_library", lambda _: tmp_path / "library")
    found = OnnxRuntimeBackend().devices(CUDA)
    names = ("CUDAExecutionProvider", RTX_PROVIDER)
    assert [d.id for d in found] == [f"{name}:{i}" for name in names for i in (0, 1)]
    assert {(d.name, d.memory_bytes, d.driver) for d in found} == {RTX}  # as the driver says


@NEEDS_ORT
def test_one_provider_is_enough(with_rtx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "provider_library", lambda _: Path("missing"))
    found = OnnxRuntimeBackend().devices(CUDA)
    assert [d.id for d in found] == [f"{RTX_PROVIDER}:0", f"{RTX_PROVIDER}:1"]


@NEEDS_ORT
def test_without_any_provider_the_preferred_ones_lack_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_hardware", lambda _: [RTX])
    monkeypatch.setattr(runtime, "provider_library", lambda _: Path("missing"))
    if find_spec("onnxruntime_ep_nv_tensorrt_rtx"):
        pytest.skip("this machine has the plugin")
    absent = absence(CUDA)
    assert absent.reason == "the onnxruntime that is installed has no CUDAExecutionProvider"
    other = f"; or for {RTX_PROVIDER}: pip install onnxruntime-ep-nv-tensorrt-rtx"
    assert (absent.fix or "").endswith(f"pip install 'qdeploy[cuda]'{other}")


def test_a_driver_that_crashes_is_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise WorkerFailed("was killed by SIGABRT", "starting", -6, ())

    monkeypatch.setattr(runtime, "require", lambda: None)
    monkeypatch.setattr(runtime, "plugin_library", lambda _: "library")
    monkeypatch.setattr(probe, "run_worker", crash)
    assert "the process that loaded it was killed by SIGABRT" in absence(WEBGPU).reason


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: f"{p.target.name}-{p.name}")
def test_without_onnxruntime_every_target_is_absent(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda _: None)
    monkeypatch.setattr(devices, "_hardware", lambda _: [RTX])
    absent = absence(provider.target)
    assert absent.reason == "onnxruntime is not installed"
    assert absent.fix == "pip install 'qdeploy[onnx]'"


def test_other_targets_are_bad_input() -> None:
    with pytest.raises(InputError, match="does not serve the target dcu"):
        OnnxRuntimeBackend().devices(DCU)
    with pytest.raises(InputError, match="nothing to simulate cuda"):
        OnnxRuntimeBackend().devices(CUDA, simulate=True)


@pytest.mark.parametrize("target", [ASCEND, ROCM], ids=str)
def test_the_simulation_on_the_cpu_says_so(target: Target) -> None:
    (found,) = OnnxRuntimeBackend().devices(target, simulate=True)
    assert found.evidence is Evidence.SIMULATED
    assert "simulated" in found.name
    assert FOR_TARGET[target.name][0].name in found.name


def test_without_a_browser_nothing_simulates_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(simulated_devices, "SWIFTSHADER", tmp_path / "missing.json")
    with pytest.raises(TargetUnavailable) as caught:
        OnnxRuntimeBackend().devices(WEBGPU, simulate=True)
    assert caught.value.fix == "apt install chromium libvulkan1"


def test_without_a_vulkan_loader_nothing_simulates_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Chromium alone has SwiftShader; the session would fail with "No supported adapters"."""
    installed = tmp_path / "vk_swiftshader_icd.json"
    installed.touch()
    monkeypatch.setattr(simulated_devices, "SWIFTSHADER", installed)
    monkeypatch.setattr(simulated_devices, "VULKAN_LOADER", "libvulkan-missing.so.1")
    with pytest.raises(TargetUnavailable, match=r"libvulkan-missing\.so\.1") as caught:
        OnnxRuntimeBackend().devices(WEBGPU, simulate=True)
    assert caught.value.fix == "apt install chromium libvulkan1"


def test_a_worker_does_not_see_that_this_process_simulates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in simulated_devices.SOFTWARE_ADAPTER.items():
        monkeypatch.setenv(name, value)
    with simulated_devices.hidden():
        assert not os.environ.keys() & simulated_devices.SOFTWARE_ADAPTER.keys()
    assert os.environ.items() >= simulated_devices.SOFTWARE_ADAPTER.items()


def test_device_files_are_looked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(TargetUnavailable, match="there is no /dev/no-such-file"):
        devices._hardware(Driver("install it", files="/dev/no-such-file"))
