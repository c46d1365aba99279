"""Processor, memory and power supply, read from made-up files and from this machine."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from qdeploy.system import info


def test_the_processors_name(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A Processor @ 2 GHz\n")
    assert info.cpu_name(file) == "A Processor @ 2 GHz"
    assert info.cpu_name(tmp_path / "nowhere")


def test_memory_is_no_more_than_the_control_group_may_use(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    assert info.usable_memory_bytes(limit) == info.memory_bytes()
    for text, usable in (("max\n", info.memory_bytes()), ("67108864\n", 2**26)):
        limit.write_text(text)
        assert info.usable_memory_bytes(limit) == usable


def test_this_machine() -> None:
    assert info.cores() >= 1
    memory = info.memory_bytes()
    assert memory is None or memory > 2**26


@pytest.mark.parametrize(
    ("line", "vendor"),
    [
        ("vendor_id\t: GenuineIntel", "Intel"),
        ("vendor_id\t: AuthenticAMD", "AMD"),
        ("vendor_id\t: HygonGenuine", "Hygon"),
        ("CPU implementer\t: 0x41", "Arm"),
        ("CPU implementer\t: 0xc0", "Ampere"),
        ("vendor_id\t: NobodyKnows", "NobodyKnows"),
    ],
)
def test_the_processors_vendor_on_linux(line: str, vendor: str, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\n{line}\nflags\t\t: fpu avx2\n")
    assert info.cpu_vendor(file) == vendor
    assert info.cpu_flags(file) == {"fpu", "avx2"}


@pytest.mark.parametrize(
    ("system", "machine", "identifier", "vendor"),
    [
        ("darwin", "arm64", "", "Apple"),
        ("darwin", "x86_64", "", "Intel"),
        ("win32", "AMD64", "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD", "AMD"),
        ("win32", "AMD64", "Intel64 Family 6 Model 142 Stepping 12, GenuineIntel", "Intel"),
        ("win32", "ARM64", "ARMv8 (64-bit) Family 8 Revision 201, Qualcomm Technologies Inc",
         "Qualcomm Technologies Inc"),
        ("linux", "riscv64", "", None),
    ],
)  # fmt: skip
def test_the_processors_vendor_without_cpuinfo(
    system: str,
    machine: str,
    identifier: str,
    vendor: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", identifier)
    assert info.cpu_vendor(tmp_path / "none") == vendor
    assert info.cpu_flags(tmp_path / "none") == frozenset()


def supply(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, None),
        ({"AC": {"type": "Mains", "online": "1"}}, "mains"),
        ({"AC": {"type": "Mains", "online": "0"}}, None),
        (
            {
                "AC": {"type": "Mains", "online": "0"},
                "BAT0": {"type": "Battery", "status": "Discharging"},
            },
            "battery",
        ),
        (
            {
                "BAT0": {"type": "Battery", "status": "Charging"},
                "UCSI": {"type": "USB", "online": "1"},
            },
            "mains",
        ),
        ({"MOUSE": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, None),
    ],
    ids=["no supplies", "mains", "unplugged", "battery", "charging by USB", "of a mouse"],
)
def test_where_the_power_comes_from(
    supplies: dict[str, dict[str, str]], expected: str | None, tmp_path: Path
) -> None:
    for name, files in supplies.items():
        supply(tmp_path, name, **files)
    assert info.power(tmp_path) == expected
