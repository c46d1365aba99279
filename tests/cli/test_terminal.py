"""Colours and progress on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.bundles import profile_text
from tests.support.command import Command

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)

from tests.support.terminal import INTERRUPT, terminal

EXPORT = ["export", "model", "--target", "scripted", "--profile", "scripted.toml", "-o", "slow"]


@pytest.mark.usefixtures("bundle")
def test_thinking_is_dim_and_the_answer_is_not(qdeploy: Command) -> None:
    with terminal(qdeploy, "run", "bundle", "2 + 2?") as shown:
        code, text = shown.rest()
    assert code == 0
    thinking, answer = text.split("4 汉🚀")
    assert thinking.startswith("\x1b[2m")
    assert thinking.rstrip().endswith("\x1b[0m")
    assert answer.lstrip("\r\n").startswith("\x1b[2m")  # the line of statistics


def test_progress_shows_the_stage(model: Path, scripted_toml: Path, qdeploy: Command) -> None:
    scripted_toml.write_text(profile_text(export="hang"))
    with terminal(qdeploy, *EXPORT) as shown:
        shown.until("following the script")
        shown.type(INTERRUPT)
        code, rest = shown.rest()
    assert code == 130
    assert "interrupted" in rest
    assert not (model.parent / "slow").exists()
