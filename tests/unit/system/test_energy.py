"""RAPL, from made-up files: the machine this was written on shows no counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.system import energy
from tests.support.rapl import zone


def test_rapl_adds_up_the_packages_and_nothing_else(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 1_000_000)
    zone(tmp_path, 1, "package-1", 5_000_000)
    zone(tmp_path, 2, "psys", 7_000_000)
    meter = energy.rapl(tmp_path)
    meter.start()
    zone(tmp_path, 0, "package-0", 3_000_000)
    zone(tmp_path, 1, "package-1", 5_500_000)
    zone(tmp_path, 2, "psys", 9_000_000)
    assert meter.stop() == pytest.approx(2.5)


def test_a_counter_that_began_again_is_still_counted(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 9_000_000, 10_000_000)
    meter = energy.rapl(tmp_path)
    meter.start()
    zone(tmp_path, 0, "package-0", 500_000, 10_000_000)
    assert meter.stop() == pytest.approx(1.5)


def test_counters_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, 0, "package-0", 1)

    def refuse(self: Path) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return "package-0"

    monkeypatch.setattr(Path, "read_text", lambda self, **_: refuse(self))
    with pytest.raises(energy.NoMeter, match="by root only"):
        energy.rapl(tmp_path)


def test_no_counters_at_all(tmp_path: Path) -> None:
    with pytest.raises(energy.NoMeter, match="no RAPL"):
        energy.rapl(tmp_path)
