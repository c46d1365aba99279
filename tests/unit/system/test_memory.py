"""Free memory, and messages that say that there was too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.system.memory import available_bytes, is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("Exception from src/core.cpp:1:\nstd::bad_alloc"),
        RuntimeError("[GPU] CL_OUT_OF_RESOURCES"),
        RuntimeError("[GPU] Exceeded max size of memory object allocation: requested 9 bytes"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("Failed to allocate memory for requested buffer of size 9"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
    ],
    ids=str,
)
def test_what_runtimes_say_without_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("text", ["Unsupported property", "no such file", "memory is fine"])
def test_what_they_say_otherwise(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))


def test_the_lesser_of_the_kernels_estimate_and_the_groups_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n")
    assert available_bytes(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("500\n")
    assert available_bytes(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("2000\n")
    assert available_bytes(meminfo, tmp_path) == 1500
    (tmp_path / "memory.current").write_text("2500\n")
    assert available_bytes(meminfo, tmp_path) == 0


def test_a_system_without_either(tmp_path: Path) -> None:
    for text in ("", "MemAvailable:\n", "MemAvailable: many kB\n"):
        (tmp_path / "meminfo").write_text(text)
        assert available_bytes(tmp_path / "meminfo", tmp_path) != 0
