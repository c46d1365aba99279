"""The base installation, with no runtime and no exporter's libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qdeploy.system import info
from tests.support.absent import without
from tests.support.command import Command, Result

RUNTIMES = (
    "openvino openvino_genai openvino_tokenizers torch transformers optimum optimum_intel nncf "
    "onnx onnxruntime onnxruntime_genai vllm"
).split()


class Base(Command):
    """The command in a Python without the runtimes."""

    def __call__(self, *arguments: str | Path, stdin: str | bytes = "", **changes: str) -> Result:
        site = str(self.folder.parent / "site")
        path = os.pathsep.join([site, self.environment()["PYTHONPATH"]])
        return super().__call__(*arguments, stdin=stdin, PYTHONPATH=path, **changes)


@pytest.fixture
def base(qdeploy: Command) -> Base:
    without(qdeploy.folder.parent / "site", RUNTIMES)
    return Base(qdeploy.folder, qdeploy.plugins)


@pytest.mark.parametrize("target", ["intel-cpu", "intel-gpu", "intel-npu"])
def test_plan_works(target: str, base: Base) -> None:
    result = base("plan", "qwen3-nano", "--target", target, "--json")
    assert result.code == 0, result.stderr
    assert result.json["weight_bytes"] > 0
    assert result.json["longest_context"] is None


def test_targets_say_what_to_install(base: Base) -> None:
    rows = base("targets", "--json").json["targets"]
    intel = [r for r in rows if r["target"].startswith("intel-") and r["backend"] == "openvino"]
    assert len(intel) == 3
    assert {row["evidence"] for row in intel} == {"none"}
    if info.other_cpu("Intel"):  # which no package helps
        intel = [row for row in intel if row["target"] != "intel-cpu"]
    for row in intel:
        assert "pip install" in row["fix"]
        assert "qdeploy[openvino]" in row["fix"]


def test_profiles_are_listed(base: Base) -> None:
    assert base("profiles").code == 0


def test_qwen3_is_exported_all_the_same(base: Base) -> None:
    result = base("export", "qwen3-nano", "--target", "intel-cpu", "-o", "out", "--json")
    assert result.code == 0, result.stderr
    assert result.json["exporter"] == "native"


def test_export_through_optimum_is_exit_code_3_with_what_to_install(here: Path, base: Base) -> None:
    optimum = ("--exporter", "optimum")
    base("export", "qwen3-nano", "--target", "intel-cpu", "-o", "out", *optimum).fails(
        3, "fix:", "pip install", "qdeploy[optimum]"
    )
    assert list(here.iterdir()) == []


def test_run_of_a_model_is_exit_code_3_before_any_export(base: Base) -> None:
    base("run", "qwen3-nano", "hi", "--target", "cpu").fails(3, "fix:", "pip install")
