"""The hardware workflow and the registry cannot drift: the one is made from the other."""

from __future__ import annotations

import os
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.errors import InputError
from qdeploy.matrix.github import SPECIAL, extra_of, job_matrix, provided_extras
from qdeploy.targets import BUILT_IN, Target
from tests.support.scripted import ScriptedBackend

FILE = Path(__file__).parents[3] / ".github" / "workflows" / "hardware-matrix.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    found: dict[str, Any] = import_module("yaml").safe_load(FILE.read_text(encoding="utf-8"))
    return found


def jobs(*named: str) -> dict[str, dict[str, Any]]:
    """The jobs by target: of the targets named, or of all that there are."""
    found = job_matrix(named or tuple(registry.targets()))["include"]
    return {job["target"]: job for job in found}


def test_without_names_only_targets_of_hosted_runners_have_a_job() -> None:
    hosted = [job["target"] for job in job_matrix()["include"]]
    assert hosted == [name for name, t in registry.targets().items() if t.kind == "cpu"]
    assert {"cpu", "intel-cpu"} <= set(hosted)


def test_what_needs_hardware_runs_on_a_runner_of_its_own() -> None:
    for name, target in registry.targets().items():
        job = jobs()[name]
        assert job["self_hosted"] == (target.kind != "cpu")
        assert job["runner"] == (["self-hosted", name] if job["self_hosted"] else ["ubuntu-latest"])


INSTALLED = {
    "cpu": "onnx",
    "intel-cpu": "onnx-openvino,openvino",
    "intel-gpu": "onnx-openvino,openvino",
    "intel-npu": "onnx-openvino,openvino",
    "cuda": "cuda",
    "rocm": "rocm",
    "dcu": "",
    "ascend": "ascend",
    "webgpu": "webgpu",
}


def test_a_job_installs_what_the_targets_backends_need_and_no_other_vendors() -> None:
    found = jobs(*(target.name for target in BUILT_IN))
    assert {name: job["extras"] for name, job in found.items()} == INSTALLED
    for extras in INSTALLED.values():
        assert set(filter(None, extras.split(","))) <= provided_extras().keys()


def test_every_backend_of_qdeploys_own_has_an_extra_for_each_of_its_targets() -> None:
    for backend in registry.backends().values():
        if type(backend).__module__.startswith("qdeploy."):
            for target in backend.targets:
                assert extra_of(backend, target, provided_extras()), (backend.name, target.name)


def test_the_extra_is_the_targets_own_or_else_the_smallest_of_no_other_target() -> None:
    backend, target = ScriptedBackend(), Target("abacus", "beads", "cpu")
    backend.requires = ("beads", "frame-gpu")  # type: ignore[misc]
    provided = {"frame": {"frame-gpu", "wood"}, "all": {"beads", "frame-gpu", "x"}, "dev": {"x"}}
    assert extra_of(backend, target, provided) == "frame"
    assert extra_of(backend, target, provided | {"abacus": {"beads", "x", "y", "z"}}) == "abacus"
    assert extra_of(backend, target, provided | {"abacus": {"ruff"}}) == "frame"
    assert extra_of(backend, target, provided | {"cuda": {"beads"}}) == "frame"
    assert extra_of(backend, target, {"dev": {"x"}}) is None


def test_special_extras_are_there_and_an_extra_brings_what_its_parts_bring() -> None:
    assert set(SPECIAL.values()) <= provided_extras().keys()
    assert provided_extras()["onnx"] < provided_extras()["onnx-openvino"]


def test_a_job_for_each_target_that_is_named_and_one_alone() -> None:
    named = ("intel-npu", "cpu", "intel-npu")
    assert [job["target"] for job in job_matrix(named)["include"]] == ["intel-npu", "cpu"]
    with pytest.raises(InputError, match="unknown target 'intel-nqu'"):
        job_matrix(("intel-nqu",))


def test_the_workflow_takes_its_jobs_from_the_command(workflow: dict[str, Any]) -> None:
    planned, target = workflow["jobs"]["plan"], workflow["jobs"]["target"]
    assert "qdeploy matrix --github" in planned["steps"][-1]["run"]
    assert planned["outputs"] == {"matrix": "${{ steps.plan.outputs.matrix }}"}
    assert target["needs"] == "plan"
    assert target["strategy"]["matrix"] == "${{ fromJSON(needs.plan.outputs.matrix) }}"
    keys = {key for job in jobs().values() for key in job}
    assert set(re.findall(r"\$\{\{ matrix\.(\w+) \}\}", FILE.read_text())) <= keys
    assert not [name for name in registry.targets() if re.search(rf"\b{name}\b", FILE.read_text())]


@pytest.mark.skipif(os.name != "posix", reason="the step is a shell script")
@pytest.mark.parametrize(
    ("asked", "code", "planned"),
    [("", 0, "matrix=<--github>\n"),
     ("a b", 0, "matrix=<--github --target a --target b>\n"),
     ("bad", 2, "")],
)  # fmt: skip
def test_the_step_that_plans_fails_with_its_command(
    asked: str, code: int, planned: str, workflow: dict[str, Any], tmp_path: Path
) -> None:
    script = workflow["jobs"]["plan"]["steps"][-1]["run"]
    stub = 'qdeploy() { shift; echo "<$*>"; case "$*" in *bad) return 2;; esac; }\n'
    output = tmp_path / "output"
    output.touch()
    done = subprocess.run(
        ["bash", "-e", "-c", stub + script],
        env=os.environ | {"TARGETS": asked, "GITHUB_OUTPUT": str(output)}, check=False,
    )  # fmt: skip
    assert (done.returncode, output.read_text()) == (code, planned)


def test_a_job_proves_its_device_first_and_then_measures(workflow: dict[str, Any]) -> None:
    job = workflow["jobs"]["target"]
    assert job["env"]["QDEPLOY_REQUIRE"] == "${{ matrix.target }}"
    commands = [step["run"] for step in job["steps"] if step.get("run", "").startswith("qdeploy")]
    assert commands[0] == 'qdeploy doctor "$TARGET"'
    assert commands[1].startswith('qdeploy matrix --target "$TARGET" -o ')


def test_permissions_are_the_least(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items()
            if "permissions" in job}  # fmt: skip
    assert more == {"publish": {"pages": "write", "id-token": "write"}}


def test_no_expression_is_pasted_into_a_shell(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        assert not [step for step in job["steps"] if "${{" in step.get("run", "")]
