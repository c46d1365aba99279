"""A path that is no bundle: what it is, and what to give, which then works."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.support.command import QuickCommand

FIX = re.compile(r"fix: qdeploy (export .*), and give (\S+)$")


@pytest.mark.parametrize("name", ["qwen3-nano", "model"])
@pytest.mark.usefixtures("model")
def test_a_model_is_exported_first(name: str, quick: QuickCommand) -> None:
    refused = quick("verify", name)
    refused.fails(2, f"{name}: ")
    match = FIX.search(refused.stderr)
    assert match, refused.stderr
    exported = quick(*shlex.split(match[1]))
    assert exported.code == 0, exported.stderr
    assert quick("verify", match[2]).code == 0


@pytest.mark.parametrize("given", ["bundel", "./bundl", "bundle/config.json", "above"])
def test_the_bundle_nearby_is_named(
    given: str, bundle: Path, here: Path, quick: QuickCommand
) -> None:
    (here / "above").mkdir()
    if given == "above":
        bundle.rename(here / "above" / "it")
    refused = quick("verify", given)
    refused.fails(2, "fix: ")
    match = re.search(r"fix: (?:give|did you mean) '?([\w./]+?)'?\??$", refused.stderr)
    assert match, refused.stderr
    assert quick("verify", match[1]).code == 0


def test_a_folder_of_bundles_is_no_model_to_run(
    bundle: Path, here: Path, quick: QuickCommand
) -> None:
    (here / "above").mkdir()
    bundle.rename(here / "above" / "it")
    refused = quick("run", "above", "hi")
    refused.fails(2, "not a bundle, but it holds some")
    assert quick("run", refused.stderr.split()[-1], "hi").code == 0


def test_files_of_another_tool(here: Path, quick: QuickCommand) -> None:
    (here / "ir").mkdir()
    shutil.copyfile(__file__, here / "ir" / "openvino_model.xml")
    quick("verify", "ir").fails(
        2, "not a bundle of qdeploy's", "fix: qdeploy export MODEL --target"
    )


def test_a_prompt_in_the_place_of_the_model(quick: QuickCommand) -> None:
    quick("run", "What is 2 + 2?").fails(2, "the prompt is empty")
    quick("run", "What is 2 + 2?", "hi").fails(2, "a prompt comes after the model")
