"""Facts about this machine, read from made-up files."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.results.machine import describe_machine
from qdeploy.system import info


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


def test_this_machine() -> None:
    found = describe_machine("mine")
    assert found.name == "mine"
    assert found.cores >= 1
    assert describe_machine().name
