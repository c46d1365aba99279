"""Finding devices: what the worker process says, and what its silence means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qdeploy.backends.onnxruntime import OnnxRuntimeBackend
from qdeploy.backends.openvino import OpenVINOBackend, devices, diagnosis, probe, runtime
from qdeploy.backends.openvino.diagnosis import DeviceFiles
from qdeploy.backends.openvino.probe import Answer, Found
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system import info
from qdeploy.targets import CPU, CUDA, INTEL_CPU, INTEL_GPU, INTEL_NPU, Evidence, Target
from tests.support.workers import make_work

NO_OPENCL = "Cannot load library: libOpenCL.so.1: cannot open shared object file"
ARC: dict[str, Any] = {
    "id": "GPU.1",
    "name": "Intel(R) Arc(TM)",
    "memory_bytes": 2**34,
    "driver": "26.1",
}


class Core:
    """The two questions that the probe asks of `openvino.Core`."""

    def __init__(self, table: dict[tuple[str, str], Any]) -> None:
        self._table = table

    def get_property(self, device: str, name: str) -> Any:
        if (device, name) not in self._table:
            raise RuntimeError(f"Exception from core.cpp:268:\nUnsupported property {name}\n\n")
        return self._table[device, name]


def test_the_probe_describes_each_gpu_by_its_number() -> None:
    core = Core(
        {
            ("GPU", "AVAILABLE_DEVICES"): ["0", "1"],
            ("GPU.0", "FULL_DEVICE_NAME"): "Intel(R) Graphics",
            ("GPU.1", "FULL_DEVICE_NAME"): "Intel(R) Arc(TM)",
            ("GPU.1", "GPU_DEVICE_TOTAL_MEM_SIZE"): 2**34,
            ("GPU.1", "GPU_DRIVER_VERSION"): "26.1",
        }
    )
    first = Found("GPU.0", "Intel(R) Graphics", None, None)
    assert probe.ask(core, "GPU") == Answer((first, Found(**ARC)), None)


def test_the_probe_calls_the_npu_by_its_plain_name() -> None:
    core = Core(
        {
            ("NPU", "AVAILABLE_DEVICES"): ["4000"],
            ("NPU", "FULL_DEVICE_NAME"): "Intel(R) AI Boost",
            ("NPU", "NPU_DRIVER_VERSION"): 1005,
        }
    )
    (only,) = probe.ask(core, "NPU").devices
    assert (only.id, only.driver) == ("NPU", "1005")


def test_the_probe_passes_a_plugins_error_on_without_source_paths() -> None:
    assert probe.ask(Core({}), "GPU") == Answer((), "Unsupported property AVAILABLE_DEVICES")


def test_an_answer_comes_through_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"devices": [ARC], "error": None}
    monkeypatch.setattr(probe, "work", make_work(tmp_path, monkeypatch, f"return {said!r}"))
    assert probe.probe("GPU") == Answer((Found(**ARC),), None)


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("os.abort()", "was killed by SIGABRT"),
        ("raise SystemExit('no such symbol')", "exited with code 1: no such symbol"),
        ("print('not json', file=sys.stderr); os._exit(0)", "exited with code 0: not json"),
        ("time.sleep(600)", "did not answer within 2 s"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_broken_driver_is_an_absent_target(
    line: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "work", make_work(tmp_path, monkeypatch, line))
    monkeypatch.setattr(probe, "SECONDS", 2.0 if "sleep" in line else 20.0)
    with pytest.raises(TargetUnavailable) as caught:
        probe.probe("GPU")
    assert how in caught.value.reason
    assert "GPU" in caught.value.reason


NOTHING = DeviceFiles((), ())
CLOSED = DeviceFiles(("/dev/x0",), ())
OPEN = DeviceFiles(("/dev/x0",), ("/dev/x0",))


@pytest.mark.parametrize(
    ("plugin", "error", "files", "reason", "fix"),
    [
        ("GPU", NO_OPENCL, NOTHING, "OpenCL driver is missing", "intel-opencl-icd"),
        ("GPU", "undefined symbol: x", OPEN, "undefined symbol: x", "driver"),
        ("GPU", None, NOTHING, "no device in /dev/dri", "--device /dev/dri"),
        ("GPU", None, CLOSED, "may not open /dev/x0", "render"),
        ("GPU", None, OPEN, "no Intel GPU found", "clinfo"),
        ("GPU", "as no supported devices found", OPEN, "no Intel GPU found", "clinfo"),
        ("GPU", None, None, "no Intel GPU found, or no driver", "driver"),
        ("NPU", None, NOTHING, "no device in /dev/accel", "--simulate"),
        ("NPU", None, CLOSED, "may not open /dev/x0", "render"),
        ("NPU", None, OPEN, "user-space driver is missing", "linux-npu-driver"),
        ("NPU", "undefined symbol: x", OPEN, "undefined symbol: x", "driver"),
        ("NPU", None, None, "no Intel NPU found, or no driver", "driver"),
    ],
)
def test_the_reason_for_an_absent_device(
    plugin: str,
    error: str | None,
    files: DeviceFiles | None,
    reason: str,
    fix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    told = diagnosis.explain(plugin, error, files)
    assert reason in told.reason
    assert fix in (told.fix or "")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Let the probe give an answer, as if the packages were installed."""
    monkeypatch.setattr(runtime, "require_installed", lambda: None)

    def arrange(answer: Answer) -> None:
        monkeypatch.setattr(devices, "probe", lambda plugin: answer)

    return arrange


def test_found_devices_keep_openvinos_names(answering: Callable[[Answer], None]) -> None:
    answering(Answer((Found("NPU", "Intel(R) AI Boost", 2**33, "1005"),), None))
    assert devices.find(INTEL_NPU) == [
        Device("NPU", "Intel(R) AI Boost", "intel-npu", 2**33, "1005")
    ]


def test_no_device_is_an_absent_target(answering: Callable[[Answer], None]) -> None:
    answering(Answer((), NO_OPENCL))
    with pytest.raises(TargetUnavailable, match="OpenCL"):
        devices.find(INTEL_GPU)


def test_another_backends_target_is_bad_input() -> None:
    with pytest.raises(InputError, match="cuda"):
        devices.find(CUDA)


@pytest.fixture
def cpuinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Let Linux describe the processor with one line."""

    def write(line: str) -> None:
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor\t: 0\n{line}\nmodel name\t: A Processor\n")
        monkeypatch.setattr(info, "CPUINFO", file)

    return write


OTHERS = [
    ("vendor_id\t: AuthenticAMD", "an AMD CPU"),
    ("vendor_id\t: HygonGenuine", "a Hygon CPU"),
    ("CPU implementer\t: 0x41", "an Arm CPU"),
]
NEEDS_OPENVINO = pytest.mark.skipif(not find_spec("openvino"), reason="needs qdeploy[openvino]")


@pytest.mark.parametrize("target", [INTEL_CPU, INTEL_GPU])
def test_what_cannot_be_simulated_is_refused(
    target: Target, cpuinfo: Callable[[str], None]
) -> None:
    cpuinfo("vendor_id\t: GenuineIntel")
    with pytest.raises(InputError, match=target.name):
        devices.simulated(target)


@pytest.mark.parametrize(("line", "named"), OTHERS)
def test_intel_cpu_is_absent_on_the_cpus_of_others(
    line: str, named: str, cpuinfo: Callable[[str], None]
) -> None:
    cpuinfo(line)
    for backend in (OpenVINOBackend(), OnnxRuntimeBackend()):
        with pytest.raises(TargetUnavailable, match=f"this is {named}") as caught:
            backend.devices(INTEL_CPU)
        assert (caught.value.fix or "").startswith("--target cpu")
    assert "OpenVINOExecutionProvider takes Intel CPUs only" in caught.value.reason


@NEEDS_OPENVINO
@pytest.mark.parametrize(("line", "named"), OTHERS)
def test_a_cpu_of_another_vendor_is_simulated_on_request_and_says_so(
    line: str, named: str, cpuinfo: Callable[[str], None]
) -> None:
    cpuinfo(line)
    assert INTEL_CPU.name in devices.simulated_targets()
    found = devices.simulated(INTEL_CPU)
    assert (found.id, found.evidence) == ("CPU", Evidence.SIMULATED)
    assert found.name.startswith("simulated: ")
    assert found.name.endswith("in place of an Intel CPU")


@NEEDS_OPENVINO
@pytest.mark.parametrize("line", ["vendor_id\t: GenuineIntel", *(line for line, _ in OTHERS)])
def test_the_target_cpu_is_every_vendors(line: str, cpuinfo: Callable[[str], None]) -> None:
    cpuinfo(line)
    (found,) = OpenVINOBackend().devices(CPU)
    assert (found.id, found.target, found.evidence) == ("CPU", "cpu", Evidence.DEVICE)


def test_missing_packages_are_named_with_their_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace()
    here: dict[str, Any] = {"openvino": found}
    monkeypatch.setattr(runtime, "find_spec", here.get)
    with pytest.raises(TargetUnavailable) as caught:
        devices.find(INTEL_GPU)
    assert caught.value.reason == "openvino-genai, openvino-tokenizers are not installed"
    assert caught.value.fix == "pip install 'qdeploy[openvino]'"


def test_importing_the_backend_imports_no_runtime() -> None:
    program = (
        "import sys, qdeploy.backends.openvino\n"
        "print([m for m in ('openvino', 'openvino_genai', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
