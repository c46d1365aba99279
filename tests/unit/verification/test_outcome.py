"""What a verification found, and what it says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.errors import CheckFailed, TargetUnavailable
from qdeploy.verification.outcome import Check, Outcome

SAME = Check("text", "rendered chats", "14 chats")
SKIPPED = Check("bundle", "output", "", skipped="no NPU")
ABSENT = TargetUnavailable("no NPU", "use a machine with one")


def outcome(*checks: Check, absent: TargetUnavailable | None = None) -> Outcome:
    return Outcome(Path("bundle"), "model", {"torch": "2.9"}, checks, absent=absent)


def test_the_same_passes() -> None:
    found = outcome(SAME)
    found.check()
    assert found.as_dict()["ok"]


def test_the_first_failure_of_each_part_is_told() -> None:
    failures = [
        Check("text", "rendered chats", "", "they differ"),
        Check("text", "token ids of chats", "", "they differ, too"),
        Check("float model", "hidden states", "", "layer 3 is the first that differs"),
    ]
    found = outcome(*failures, SKIPPED, absent=ABSENT)
    with pytest.raises(CheckFailed) as caught:
        found.check()
    assert "rendered chats: they differ; hidden states: layer 3" in caught.value.what
    assert "too" not in caught.value.what
    assert not found.as_dict()["ok"]


def test_a_bundle_that_was_not_run_is_no_success() -> None:
    found = outcome(SAME, SKIPPED, absent=ABSENT)
    with pytest.raises(TargetUnavailable, match="no NPU"):
        found.check()
    assert not found.as_dict()["ok"]
