"""The exporter as the core sees it, without the libraries that it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import ExportFailed, TargetUnavailable
from qdeploy.exporters.optimum import OptimumExporter, exporter, steps
from qdeploy.exporters.optimum.job import STEPS, Job, jobs
from qdeploy.interface import Progress
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import Graph, KVCache, Profile, Weights, load_profile, profile_names
from qdeploy.quantization.precision import Precision
from qdeploy.targets import INTEL_CPU
from tests.support.checkpoints import (
    MOE,
    SMALL,
    shape_of_0_6b,
    shapes,
    write_checkpoint,
    write_weights,
)
from tests.support.weights import FP8_CONFIG
from tests.support.workers import make_work

INT4 = Precision(dtype="int4", group_size=128)
BERT = {"architectures": ["BertForMaskedLM"], "model_type": "bert"}


def plan_of(
    folder: Path,
    config: dict[str, Any] = SMALL,
    linear: Precision = INT4,
    format: Literal["openvino", "onnx"] = "openvino",
) -> Plan:
    made = Profile(
        name="made-up", schema=1, target="intel-cpu", format=format, why="a test",
        weights=Weights(linear=linear), kv_cache=KVCache(dtype="u8"),
        graph=Graph(attention="plain", experts="unrolled"),
    )  # fmt: skip
    return make_plan(read_checkpoint(write_checkpoint(folder, config)), made, INTEL_CPU)


class Heard(Progress):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.bytes: list[int] = []

    def begin(self, total_bytes: int) -> None:
        raise AssertionError("that is the core's to say")

    def stage(self, title: str) -> None:
        self.stages.append(title)

    def written(self, total_bytes: int) -> None:
        self.bytes.append(total_bytes)


def test_importing_it_is_cheap() -> None:
    script = (
        "import sys, qdeploy.exporters.optimum as _\n"
        "print({'torch', 'transformers', 'optimum', 'nncf', 'openvino'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("config", [SMALL, SMALL | MOE], ids=["dense", "moe"])
def test_it_can_carry_out_every_openvino_profile(tmp_path: Path, config: dict[str, Any]) -> None:
    read = read_checkpoint(write_checkpoint(tmp_path, config))
    for made in map(load_profile, profile_names()):
        if made.format == "openvino" and made.target == "intel-cpu":
            assert OptimumExporter().why_not(make_plan(read, made, INTEL_CPU)) is None


def test_it_takes_architectures_that_qdeploy_does_not_know(tmp_path: Path) -> None:
    """optimum-intel's own list decides, in the worker."""
    config = SMALL | {"architectures": ["FooForCausalLM"], "model_type": "foo"}
    assert OptimumExporter().why_not(plan_of(tmp_path, config)) is None


@pytest.mark.parametrize(
    ("changes", "more", "reason"),
    [
        ({}, {"format": "onnx"}, "openvino, not onnx"),
        ({}, {"linear": Precision(dtype="int8", group_size=128)}, "one scale a row only"),
        (BERT, {}, "not a causal language model"),
        ({"architectures": ["Qwen3Model"]}, {}, "the model is to embed, not to generate"),
        (FP8_CONFIG, {}, "fp8 already"),
        ({"rope_scaling": {"type": "mrope", "factor": 2.0}}, {}, "no positions as 'mrope'"),
    ],
)
def test_it_says_why_not(
    tmp_path: Path, changes: dict[str, Any], more: dict[str, Any], reason: str
) -> None:
    said = OptimumExporter().why_not(plan_of(tmp_path, SMALL | changes, **more))
    assert said is not None
    assert reason in said.reason


def test_names_that_only_qdeploy_knows_are_not_left_to_transformers(tmp_path: Path) -> None:
    """It would draw the weights at random, without an error."""
    plan_of(tmp_path)
    named = {f"module.{name}": shape for name, shape in shapes(SMALL).items()}
    write_weights(tmp_path / "model.safetensors", named)
    made = make_plan(read_checkpoint(tmp_path), load_profile("intel-cpu-int8"), INTEL_CPU)
    said = OptimumExporter().why_not(made)
    assert said is not None
    assert "by the name module.model." in said.reason


def test_biases_are_left_to_it(tmp_path: Path) -> None:
    """The native exporter does not compute them."""
    config = SMALL | {"attention_bias": True}
    bias = {"model.layers.0.self_attn.q_proj.bias": (512,)}
    read = read_checkpoint(write_checkpoint(tmp_path, config, extra=bias))
    made = make_plan(read, load_profile("intel-cpu-int8"), INTEL_CPU)
    assert OptimumExporter().why_not(made) is None


def test_a_job_survives_its_journey(tmp_path: Path) -> None:
    made = jobs(plan_of(tmp_path, SMALL | MOE), tmp_path / "out", memory_bytes=7)
    assert [job.step for job in made] == list(STEPS)
    for job in made:
        line = job.model_dump_json()
        assert "\n" not in line
        assert Job.model_validate_json(line) == job


def test_a_job_holds_matrices_and_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planned = plan_of(Path("model"))
    job, *_ = jobs(planned, Path("out"), memory_bytes=7)
    assert job.checkpoint.is_absolute()
    assert job.folder.is_absolute()
    assert len(job.matrices) == sum(len(t.shape) == 2 for t in planned.tensors)


def test_the_memory_of_a_known_shape(tmp_path: Path) -> None:
    """2.06 GB were measured."""
    assert 2.0e9 < OptimumExporter().peak_memory_bytes(plan_of(tmp_path, shape_of_0_6b())) < 2.5e9


def test_a_missing_library_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "LIBRARIES", ("no-such-distribution", "pytest"))
    folder = tmp_path / "out"
    with pytest.raises(TargetUnavailable, match="not installed: no-such-distribution") as told:
        OptimumExporter().export(plan_of(tmp_path / "model"), folder, Heard())
    assert told.value.fix == "pip install 'qdeploy[optimum]'"
    assert not folder.exists()


def stub(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Run these lines in place of the worker's work."""
    monkeypatch.setattr(steps, "work", make_work(folder, monkeypatch, *lines))
    monkeypatch.setattr(exporter, "LIBRARIES", ())


def test_the_steps_run_in_turn_and_leave_only_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(
        tmp_path,
        monkeypatch,
        "parent.stage(job['step'])",
        "open(os.path.join(job['folder'], 'scratch', job['step']), 'wb').write(bytes(10**6))",
        "open(os.path.join(job['folder'], job['step']), 'wb').write(bytes(1000))",
    )
    folder, heard = tmp_path / "out", Heard()
    folder.mkdir()
    OptimumExporter().export(plan_of(tmp_path / "model"), folder, heard)
    assert heard.stages == list(STEPS)
    assert sorted(p.name for p in folder.iterdir()) == sorted(STEPS)
    assert heard.bytes[-1] == 2000
    assert max(heard.bytes) == 2000, "what the steps keep for themselves is not the bundle's"


def test_a_step_that_fails_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(tmp_path, monkeypatch, "parent.stage(job['step'])", "sys.exit(1)")
    heard = Heard()
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportFailed, match="exited with code 1"):
        OptimumExporter().export(plan_of(tmp_path / "model"), tmp_path / "out", heard)
    assert heard.stages == ["trace"]
