"""RAPL's counters as Linux shows them, in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path


def zone(folder: Path, number: int, name: str, microjoules: int, most: int = 10**9) -> Path:
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True, exist_ok=True)
    for file, value in (
        ("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", most),
    ):  # fmt: skip
        (place / file).write_text(f"{value}\n")
    return place
