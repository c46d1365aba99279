"""Where torch is a target's default, by what is installed and by what the CPU computes fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.backends.onnxruntime import OnnxRuntimeBackend
from qdeploy.backends.openvino import OpenVINOBackend
from qdeploy.backends.torch import TorchBackend
from qdeploy.backends.vllm import VllmBackend
from qdeploy.deploy import cache
from qdeploy.deploy.export import prepare
from qdeploy.deploy.obtain import find_bundle
from qdeploy.errors import TargetUnavailable
from qdeploy.interface import Device, Progress
from qdeploy.system import info
from qdeploy.targets import CPU

AVX2 = frozenset("fma avx2 f16c avx_vnni".split())
AVX512 = AVX2 | frozenset("avx512f avx512vl avx512bw avx512dq".split())
ARM = frozenset("asimd asimddp i8mm bf16".split())


BACKENDS = {b.name: b for b in (OnnxRuntimeBackend, OpenVINOBackend, TorchBackend, VllmBackend)}


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let just the named runtimes be installed, torch alone unless a test names some."""
    names = str(getattr(request, "param", "torch")).split()
    for name, backend in BACKENDS.items():
        monkeypatch.setattr(backend, "is_installed", lambda _, here=name in names: here)


@pytest.fixture
def flags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> frozenset[str]:
    """Give the CPU just these instruction sets."""
    monkeypatch.setattr(info, "cpu_flags", lambda: request.param)
    return frozenset(request.param)


@pytest.mark.parametrize(
    ("flags", "is_fast"),
    [(AVX512, True), (AVX2, False), (ARM, False), (frozenset(), False)],
    indirect=["flags"],
)
@pytest.mark.usefixtures("flags")
def test_torch_is_a_cpus_default_with_its_fast_kernels_only(is_fast: bool) -> None:
    assert ("safetensors" in registry.default_formats(CPU)) == is_fast
    assert registry.default_formats(CPU, "torch") == {"safetensors"}


@pytest.mark.parametrize("flags", [AVX512], indirect=True)
@pytest.mark.parametrize(
    ("_installed", "profiles"),
    [
        ("", "cpu-int4 cuda-int4 rocm-int4 dcu-int4 ascend-int4"),
        ("torch", "cpu-int4-torch cuda-int4 rocm-int4 dcu-int4 ascend-int4"),
        ("onnxruntime", "cpu-int4 cuda-int4-onnx rocm-int4-onnx dcu-int4 ascend-fp16-onnx"),
        ("onnxruntime torch", "cpu-int4 cuda-int4 rocm-int4 dcu-int4 ascend-int4"),
        ("openvino torch", "cpu-int4-openvino cuda-int4 rocm-int4 dcu-int4 ascend-int4"),
    ],
    indirect=["_installed"],
)
@pytest.mark.usefixtures("flags")
def test_the_default_profile_of_each_target(profiles: str) -> None:
    names = profiles.split()
    chosen = [prepare("qwen3-nano", name.split("-")[0])[0].profile.name for name in names]
    assert chosen == names


@pytest.mark.parametrize("flags", [AVX2], indirect=True)
@pytest.mark.usefixtures("flags")
def test_a_backend_that_is_slow_here_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any, **__: Any) -> list[Device]:
        raise TargetUnavailable("ONNX Runtime is not installed", "pip install 'qdeploy[onnx]'")

    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr(OnnxRuntimeBackend, "devices", absent)
    assert prepare("qwen3-nano", "cpu")[0].profile.name == "cpu-int4"
    with pytest.raises(TargetUnavailable) as caught:
        find_bundle("qwen3-nano", "cpu", Progress())
    assert (caught.value.fix or "").endswith(
        "--backend torch, which is here, and slower on such a machine"
    )
    bundle, _ = find_bundle("qwen3-nano", "cpu", Progress(), backend="torch")
    assert bundle.manifest.profile.name == "cpu-int4-torch"
