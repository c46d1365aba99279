"""The hardware workflow and the registry cannot drift: the one is made from the other."""

from __future__ import annotations

import os
import re
import subprocess
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.errors import InputError
from qdeploy.matrix.github import job_matrix
from qdeploy.targets import BUILT_IN, Target
from tests.support.plugins import only
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
    assert hosted == [n for n, t in registry.targets().items() if "self-hosted" not in t.runs_on]
    assert {"cpu"} <= set(hosted)


def test_what_needs_hardware_runs_on_a_runner_of_its_own() -> None:
    for target in BUILT_IN:
        job = jobs()[target.name]
        assert job["self_hosted"] or target.kind == "cpu"
        own = ["self-hosted", target.name]
        assert job["runner"] == (own if job["self_hosted"] else ["ubuntu-latest"])


INSTALLED = {
    "cpu": "onnx,openvino,torch",
    "intel-cpu": "onnx-openvino,openvino",
    "intel-gpu": "onnx-openvino,openvino",
    "intel-npu": "onnx-openvino,openvino",
    "cuda": "cuda,cuda-rtx,torch",
    "rocm": "rocm,torch",
    "dcu": "torch",
    "ascend": "ascend,torch-npu",
    "webgpu": "webgpu",
}
REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(\[(?P<parts>[\w.,\s-]+)\])?.*;.*extra == [\"'](?P<extra>[^\"']+)[\"']"
)


def provided_extras() -> dict[str, set[str]]:
    """Extras of the installed qdeploy, with the distributions that each brings."""
    named: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}
    for match in filter(None, map(REQUIREMENT.match, requires("qdeploy") or [])):
        extra = match["extra"]
        named.setdefault(extra, set()).add(normal(match["name"]))
        if normal(match["name"]) == "qdeploy":
            parts.setdefault(extra, set()).update(re.split(r"[,\s]+", match["parts"] or ""))

    def brought(extra: str) -> set[str]:
        return named.get(extra, set()).union(*map(brought, parts.get(extra, ())))

    return {extra: brought(extra) for extra in named}


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_a_job_installs_what_the_targets_row_says_and_no_other_vendors() -> None:
    found = jobs(*(target.name for target in BUILT_IN))
    assert {name: job["extras"] for name, job in found.items()} == INSTALLED
    for extras in INSTALLED.values():
        assert set(filter(None, extras.split(","))) <= provided_extras().keys()


def test_the_extra_for_a_package_brings_that_package() -> None:
    provided = provided_extras()
    for target in BUILT_IN:
        for package, extra in target.extras.items():
            assert normal(package) in provided[extra], (target.name, package, extra)


def test_the_extras_of_a_target_bring_each_of_its_backends() -> None:
    provided = provided_extras()
    for backend in registry.backends().values():
        if type(backend).__module__.startswith("qdeploy.") and backend.requires:
            wanted = set(map(normal, backend.requires))
            for target in backend.targets if wanted else ():  # an engine has its own environment
                row = registry.target(target.name)
                assert any(wanted & provided[e] for e in row.extras.values()), (
                    backend.name,
                    target.name,
                )


def test_an_extra_brings_what_its_parts_bring() -> None:
    assert provided_extras()["onnx"] < provided_extras()["onnx-openvino"]


class AbacusBackend(ScriptedBackend):
    name = "abacus"
    targets = (
        Target("abacus", "beads", "cpu", extras={"onnx": "onnx"}, runner=("self-hosted", "beads")),
        Target("sundial", "the sun", "npu"),
    )


def test_a_third_partys_target_has_a_job_by_its_row(tmp_path: Path) -> None:
    here = "tests.unit.matrix.test_hardware_workflow:AbacusBackend"
    with only(tmp_path, acme={registry.BACKENDS: {"abacus": here}}):
        abacus, sundial = job_matrix(("abacus", "sundial"))["include"]
        assert [job["target"] for job in job_matrix()["include"]] == ["cpu"]
    assert abacus == {
        "target": "abacus", "runner": ["self-hosted", "beads"], "self_hosted": True,
        "extras": "onnx", "torch_index": "",
    }  # fmt: skip
    assert sundial["runner"] == ["self-hosted", "sundial"]


def test_a_job_installs_torch_from_the_index_that_has_the_targets_build(
    workflow: dict[str, Any],
) -> None:
    found = jobs("cuda", "rocm", "cpu")
    ends = {name: job["torch_index"].rpartition("/")[2] for name, job in found.items()}
    assert ends == {"cuda": "cu130", "rocm": "rocm7.2", "cpu": ""}
    job = workflow["jobs"]["target"]
    assert job["env"]["TORCH_INDEX"] == "${{ matrix.torch_index }}"
    (install,) = (step["run"] for step in job["steps"] if step.get("name") == "install")
    assert install.index("$TORCH_INDEX") < install.index("$EXTRAS")


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
