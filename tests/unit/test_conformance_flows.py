"""Which targets the conformance suite may not skip, and which profiles it tests in full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.flows import Flow, required

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("names", ["intel-cpu,cuda", " intel-cpu, cuda ", "cuda,,intel-cpu,"])
def test_required_targets_are_listed_with_commas(names: str) -> None:
    assert required(names) == {"intel-cpu", "cuda"}


@pytest.mark.parametrize("names", ["", " "])
def test_nothing_is_required_unless_named(names: str) -> None:
    assert required(names) == frozenset()


def test_a_required_target_that_does_not_exist_fails_the_suite() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "tests/conformance/test_placement.py"]
    environment = os.environ | {"QDEPLOY_REQUIRE": "intel-cpu, cudda"}
    done = subprocess.run(
        [*command, "--collect-only"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "did you mean 'cuda'?" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("model", "profile", "is_variant"),
    [
        ("qwen3-nano", "ascend-int4", False),
        ("qwen3-nano", "ascend-int8", False),
        ("qwen3-nano", "ascend-int8-310p", True),
        ("qwen3-nano-moe", "ascend-int4", True),
    ],
)
def test_a_simulated_device_is_tested_in_full_with_a_profile_for_each_number_of_bits(
    model: str, profile: str, is_variant: bool
) -> None:
    flow = Flow(model, "torch", "ascend", profile, simulate=True)
    assert flow.is_variant == is_variant
    assert not Flow(model, "torch", "ascend", profile).is_variant


@pytest.mark.parametrize(
    ("model", "profile", "is_variant"),
    [
        ("qwen3-nano", "cpu-fp16-vllm", False),
        ("qwen3-nano", "cpu-int8-vllm", True),
        ("qwen3-nano-moe", "cpu-fp16-vllm", True),
    ],
)
def test_a_server_that_starts_slowly_is_tested_in_full_with_floats(
    model: str, profile: str, is_variant: bool
) -> None:
    assert Flow(model, "vllm", "cpu", profile).is_variant == is_variant
