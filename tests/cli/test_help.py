"""Help, version and usage errors."""

from __future__ import annotations

import pytest

from qdeploy.cli import COMMANDS
from tests.support.command import Command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, qdeploy: Command) -> None:
    result = qdeploy(command, "--help")
    assert result.code == 0
    assert f"Usage: qdeploy {command}" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command(option: str, qdeploy: Command) -> None:
    result = qdeploy(option)
    assert result.code == 0
    assert [c for c in COMMANDS if f"\n  {c} " not in result.stdout] == []


def test_the_version_is_one_line(qdeploy: Command) -> None:
    result = qdeploy("--version")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith("qdeploy ")
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Usage: qdeploy"),
        (["exprot"], "No such command 'exprot'"),
        (["export"], "Missing argument 'MODEL'"),
        (["export", "qwen3-nano"], "Missing option '--target'"),
        (["plan", "qwen3-nano", "--traget", "cpu"], "--target"),
        (["run", "qwen3-nano", "hi", "--top-p", "2"], "top-p"),
        (["run", "qwen3-nano", "hi", "--max-new-tokens", "0"], "max-new-tokens"),
        (["run", "qwen3-nano", "hi", "--no-think", "--thinking-budget", "5"], "--no-think"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_code_2_with_the_usage(
    arguments: list[str], says: str, qdeploy: Command
) -> None:
    result = qdeploy(*arguments)
    result.fails(2, "Usage: qdeploy", says)
