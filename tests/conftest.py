"""Settings of the whole suite: which tests share a worker; a fixture for tests of every kind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qdeploy.forecast.hardware import DeviceSpec


def pin_worker() -> None:
    """Pin a worker of `pytest -n` to one processor.

    Runtimes start a thread for every processor that they may use. Two workers with two threads each
    on two processors would spend their time waiting for each other.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):  # not on macOS and Windows
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[int(worker.removeprefix("gw")) % len(processors)]})


# NumPy and torch count processors when they are imported, so this comes first.
pin_worker()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share an expensive fixture in one worker of `pytest -n`.

    Conformance cases share the open session of their flow, all others the fixtures of their file.
    A test that names a group itself keeps it.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        callspec = getattr(item, "callspec", None)
        flow = callspec.params.get("flow") if callspec else None
        group = getattr(flow, "id", None) or item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> DeviceSpec:
    """Make up this CPU's vendor, and what the CPU was measured to do."""
    from qdeploy.forecast import hardware
    from qdeploy.system import info

    fixed = hardware.DeviceSpec(
        name=hardware.THIS_CPU, targets=("intel-cpu", "cpu"), memory_bytes=16e9,
        bytes_per_s=20e9, fp32_flops=200e9, arithmetic="matrix", sources={"all": "a test"},
    )  # fmt: skip
    monkeypatch.setattr(hardware, "_measured_cpu", lambda: fixed)
    monkeypatch.setattr(info, "cpu_vendor", lambda *_: "Intel")
    return fixed
