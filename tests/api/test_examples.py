"""The examples in docstrings and in the README, run with the real exporter and runtime."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import qdeploy
from qdeploy.deploy import api, cache
from qdeploy.deploy.loaded_models import chat, model

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]")
README = Path(__file__).parents[2] / "README.md"


def examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in (api, model, chat):
        yield from (found for found in finder.find(module) if found.examples)


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qdeploy.Model]:
    folder = tmp_path_factory.mktemp("nano") / "bundle"
    with qdeploy.load(qdeploy.export("qwen3-nano", target="cpu", output=folder)) as loaded:
        yield loaded


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.name)
def test_the_example_of_a_docstring_gives_what_it_says(
    example: doctest.DocTest, nano: qdeploy.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    example.globs = {"model": nano}
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example)
    assert runner.failures == 0, capsys.readouterr().out
    assert runner.tries > 0


def test_every_public_function_and_method_has_an_example() -> None:
    named = {example.name.rpartition(".")[2] for example in examples()}
    assert {"export", "open", "load", "plan", "chat", "stream", "placement", "score"} <= named


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(block, {})  # noqa: S102  # the README is ours
    assert capsys.readouterr().out.startswith("42 ")
