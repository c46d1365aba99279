"""Where torch is a target's default, by what is installed and by what the CPU computes fast."""

from __future__ import annotations

import pytest

from qdeploy import registry
from qdeploy.backends.onnxruntime import OnnxRuntimeBackend
from qdeploy.backends.openvino import OpenVINOBackend
from qdeploy.backends.torch import TorchBackend
from qdeploy.system import info
from qdeploy.targets import CPU

AVX2 = frozenset("fma avx2 f16c avx_vnni".split())
AVX512 = AVX2 | frozenset("avx512f avx512vl avx512bw avx512dq".split())
ARM = frozenset("asimd asimddp i8mm bf16".split())


@pytest.fixture(autouse=True)
def _torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (OnnxRuntimeBackend, OpenVINOBackend, TorchBackend):
        present = backend is TorchBackend
        monkeypatch.setattr(backend, "is_installed", lambda _, present=present: present)


@pytest.mark.parametrize(
    ("flags", "is_fast"), [(AVX512, True), (AVX2, False), (ARM, False), (frozenset(), False)]
)
def test_torch_is_a_cpus_default_with_its_fast_kernels_only(
    flags: frozenset[str], is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "cpu_flags", lambda: flags)
    assert ("safetensors" in registry.default_formats(CPU)) == is_fast
    assert registry.default_formats(CPU, "torch") == {"safetensors"}
