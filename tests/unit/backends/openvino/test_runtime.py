"""Importing the runtime without its telemetry, and translating its exceptions."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

from qdeploy.backends.openvino import runtime
from qdeploy.backends.openvino.errors import LONGEST, essence, translated
from qdeploy.errors import GenerationFailed, PromptError

NESTED = """\
Exception from src/inference/src/cpp/core.cpp:117:
Exception from src/plugins/intel_cpu/src/config.cpp:505:
NotFound: Unsupported property BOGUS by CPU plugin.


"""


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names given to the import system; each import tries the telemetry package.

    Tests that ran before may have imported the package itself (NNCF does), so it is taken away.
    """
    names = []
    for name in [n for n in sys.modules if n.partition(".")[0] == runtime.TELEMETRY]:
        monkeypatch.delitem(sys.modules, name)

    def import_module(name: str) -> ModuleType:
        names.append(name)
        with pytest.raises(ImportError):
            importlib.import_module(runtime.TELEMETRY)
        return ModuleType(name)

    monkeypatch.setattr(runtime, "require_installed", lambda: None)
    monkeypatch.setattr(runtime, "import_module", import_module)
    return names


def test_telemetry_is_hidden_while_the_runtime_is_imported(imported: list[str]) -> None:
    loaded = runtime.load()
    assert imported == ["openvino", "openvino_genai"]
    assert loaded.genai.__name__ == "openvino_genai"
    assert runtime.TELEMETRY not in sys.modules


def test_a_telemetry_package_of_others_stays_theirs(
    imported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {name: ModuleType(name) for name in ("openvino_telemetry", "openvino_telemetry.main")}
    for name, module in theirs.items():
        monkeypatch.setitem(sys.modules, name, module)
    runtime.load()
    assert {name: sys.modules[name] for name in theirs} == theirs


def test_a_broken_installation_is_not_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError(f"libopenvino.so.1: cannot open, for {name}")

    monkeypatch.setattr(runtime, "require_installed", lambda: None)
    monkeypatch.setattr(runtime, "import_module", fail)
    with pytest.raises(GenerationFailed, match=r"libopenvino\.so\.1") as caught:
        runtime.load()
    assert "--force-reinstall" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (NESTED, "NotFound: Unsupported property BOGUS by CPU plugin"),
        ("Check 'a == b' failed at x.cpp:1:\nOnly PA or SDPA\n", "Only PA or SDPA"),
        ("Check 'a == b' failed at x.cpp:1:\n", "Check 'a == b' failed at x.cpp:1:"),
        ("", "RuntimeError"),
        ("x" * 1000, "x" * LONGEST + "..."),
    ],
)
def test_the_essence_of_a_message(message: str, said: str) -> None:
    assert essence(RuntimeError(message)) == said


def test_a_failure_names_what_where_and_the_fix() -> None:
    with pytest.raises(GenerationFailed) as caught, translated("loading", where="b", fix="look"):
        raise RuntimeError("Exception from x.cpp:1:\nIncorrect weights in bin file!")
    assert str(caught.value) == "b: loading failed: Incorrect weights in bin file!\n  fix: look"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_refused_property_has_its_own_fix() -> None:
    with pytest.raises(GenerationFailed, match="BOGUS") as caught, translated("loading", where="b"):
        raise RuntimeError(NESTED)
    assert "runtime.properties" in (caught.value.fix or "")


def test_running_out_of_memory_is_a_failure_too() -> None:
    with pytest.raises(GenerationFailed, match="MemoryError"), translated("loading", where="b"):
        raise MemoryError


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(PromptError), translated("loading", where="b"):
        raise PromptError("too long")
