"""The description of this machine in results."""

from __future__ import annotations

from qdeploy.results.machine import describe_machine


def test_this_machine() -> None:
    found = describe_machine("mine")
    assert found.name == "mine"
    assert found.cores >= 1
    assert describe_machine().name
