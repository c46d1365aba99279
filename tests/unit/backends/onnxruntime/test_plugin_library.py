"""Plugin providers whose package has no library, or one that does not load: the fix."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from qdeploy.backends.onnxruntime import OnnxRuntimeBackend, runtime
from qdeploy.errors import TargetUnavailable
from qdeploy.system import info
from qdeploy.targets import INTEL_CPU

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]")


@pytest.fixture(autouse=True)
def _intel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU be Intel's, which OpenVINO's provider takes."""
    monkeypatch.setattr(info, "cpu_vendor", lambda *_: "Intel")


def absence() -> TargetUnavailable:
    with pytest.raises(TargetUnavailable) as caught:
        OnnxRuntimeBackend().devices(INTEL_CPU)
    return caught.value


def plugin(monkeypatch: pytest.MonkeyPatch, library: Callable[[], str]) -> None:
    """Install a package of OpenVINO's provider with this `get_library_path`."""
    name = "onnxruntime_ep_openvino"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(get_library_path=library))
    monkeypatch.setattr(runtime, "find_spec", lambda _: True)


def test_a_plugin_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugin(monkeypatch, lambda: str(tmp_path / "missing.so"))
    absent = absence()
    assert "the library of onnxruntime-ep-openvino is missing" in absent.reason
    assert absent.fix == "pip install --force-reinstall onnxruntime-ep-openvino"


def test_a_plugin_that_says_itself_that_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise RuntimeError("Expected exactly one library, found 0")

    plugin(monkeypatch, refuse)
    assert "found 0" in absence().reason


def test_a_plugin_whose_package_lost_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError("No EP library found next to this package")

    plugin(monkeypatch, refuse)
    assert "No EP library found" in absence().reason


def test_a_plugin_of_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ONNX Runtime itself refuses the file."""
    library = tmp_path / "provider.so"
    library.write_bytes(b"not a library")
    plugin(monkeypatch, lambda: str(library))
    absent = absence()
    assert "does not take the library of onnxruntime-ep-openvino" in absent.reason
    assert "pip install --upgrade onnxruntime onnxruntime-ep-openvino" in (absent.fix or "")
