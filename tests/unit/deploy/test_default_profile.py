"""The default profile is one that an installed runtime can run."""

from __future__ import annotations

import pytest

from qdeploy import registry
from qdeploy.backends.onnxruntime import OnnxRuntimeBackend
from qdeploy.backends.openvino import OpenVINOBackend
from qdeploy.backends.torch import TorchBackend
from qdeploy.backends.torch.accelerators.cpu import FAST
from qdeploy.backends.vllm import VllmBackend
from qdeploy.deploy.export import prepare
from qdeploy.errors import InputError
from qdeploy.system import info
from qdeploy.targets import CPU


@pytest.fixture
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let just the named runtimes be installed, on a CPU that torch has fast kernels for."""
    monkeypatch.setattr(info, "cpu_flags", lambda: FAST)
    for backend in (OnnxRuntimeBackend, OpenVINOBackend, TorchBackend, VllmBackend):
        present = backend.name in request.param
        monkeypatch.setattr(backend, "is_installed", lambda _, present=present: present)


@pytest.mark.parametrize(
    ("installed", "profile"),
    [
        ("openvino", "cpu-int4-openvino"),
        ("onnxruntime", "cpu-int4"),
        ("onnxruntime openvino torch", "cpu-int4"),
        ("torch", "cpu-int4-torch"),
        ("", "cpu-int4"),
    ],
    indirect=["installed"],
)
@pytest.mark.usefixtures("installed")
def test_the_default_profile_runs_on_what_is_installed(profile: str) -> None:
    plan, _ = prepare("qwen3-nano", "cpu")
    assert plan.profile.name == profile


@pytest.mark.parametrize(
    ("backend", "profile"), [("openvino", "cpu-int4-openvino"), ("onnxruntime", "cpu-int4")]
)
def test_a_named_backend_decides(backend: str, profile: str) -> None:
    plan, _ = prepare("qwen3-nano", "cpu", backend_name=backend)
    assert plan.profile.name == profile
    assert plan.format in registry.backend(backend).formats


def test_a_backend_that_does_not_serve_the_target_is_refused() -> None:
    with pytest.raises(InputError, match="'openvino' does not serve cuda") as caught:
        registry.default_formats(registry.target("cuda"), "openvino")
    assert "onnxruntime" in (caught.value.fix or "")
    with pytest.raises(InputError, match="unknown backend"):
        registry.default_formats(CPU, "openvion")
