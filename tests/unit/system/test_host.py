"""The processor and memory, read from a made-up file and from this machine."""

from __future__ import annotations

from pathlib import Path

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
