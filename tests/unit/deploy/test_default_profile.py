"""The default profile is one that an installed runtime can run."""

from __future__ import annotations

import pytest

from qdeploy import registry
from qdeploy.backends.onnxruntime import OnnxRuntimeBackend
from qdeploy.backends.openvino import OpenVINOBackend
from qdeploy.backends.torch import TorchBackend
from qdeploy.deploy.export import prepare
from qdeploy.errors import InputError
from qdeploy.system import info
from qdeploy.targets import CPU


@pytest.fixture
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let just the named runtimes be installed."""
    for backend in (OnnxRuntimeBackend, OpenVINOBackend, TorchBackend):
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


@pytest.mark.parametrize("installed", ["torch", "onnxruntime torch"], indirect=True)
@pytest.mark.usefixtures("installed")
def test_a_cpu_that_torch_is_slow_on_uses_torch_where_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(info, "cpu_flags", lambda: frozenset({"avx2"}))
    alone = request.node.callspec.params["installed"] == "torch"
    plan, _ = prepare("qwen3-nano", "cpu")
    assert plan.profile.name == ("cpu-int4-torch" if alone else "cpu-int4")


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
