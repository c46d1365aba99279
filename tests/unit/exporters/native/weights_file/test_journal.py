"""The journal counts finished steps and ignores those of another sequence."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.exporters.native.weights_file.journal import Journal


def test_it_remembers_the_last_count(tmp_path: Path) -> None:
    file = tmp_path / "work" / "journal.json"
    Journal(file, "one").record(3)
    Journal(file, "one").record(7)
    assert Journal(file, "one").done() == 7
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal.json", "one").done() == 0


def test_one_of_other_work_counts_for_nothing(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.json", "one").record(3)
    assert Journal(tmp_path / "journal.json", "other").done() == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"done": 3}', b"\xff", b"null"])
def test_a_damaged_one_counts_for_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_bytes(content)
    assert Journal(tmp_path / "journal.json", "one").done() == 0
