"""What the command line calls an option, the Python API calls an argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import click
import pytest

import qdeploy
from qdeploy.cli import export, plan, run
from qdeploy.deploy.loaded_models.answers import AnswerOptions


def options(command: click.Command) -> set[str]:
    return {
        option.lstrip("-").replace("-", "_")
        for p in command.params
        if isinstance(p, click.Option)
        for option in p.opts
        if option.startswith("--")
    }


def keywords(*functions: Callable[..., object]) -> set[str]:
    found = [p for f in functions for p in inspect.signature(f).parameters.values()]
    return {p.name for p in found if p.kind is p.KEYWORD_ONLY}


OF_A_CLUSTER = {
    "engine", "devices", "nodes",
    "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel",
}  # fmt: skip
"""Options of `plan` for a model that an engine spreads over devices and nodes."""


@pytest.mark.parametrize(
    ("command", "arguments", "only_options", "only_arguments"),
    [
        (export.command, keywords(qdeploy.export), {"dry_run", "json"}, {"progress"}),
        (
            plan.command,
            keywords(qdeploy.plan),
            {"prompt", "device", "split", "json", "mindie"} | OF_A_CLUSTER,
            set(),
        ),
        (
            run.command,
            keywords(qdeploy.load) | AnswerOptions.__annotations__.keys(),
            {"think", "json", "endpoint", "endpoint_model"},
            {"concurrency", "thinking", "properties", "progress", "tools", "tool_choice"},
        ),
    ],
    ids=["export", "plan", "run"],
)
def test_the_arguments_have_the_names_of_the_options(
    command: click.Command,
    arguments: set[str],
    only_options: set[str],
    only_arguments: set[str],
) -> None:
    """The README names those that differ."""
    assert options(command) - arguments == only_options
    assert arguments - options(command) == only_arguments
