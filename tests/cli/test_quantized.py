"""Checkpoints that are quantized already: planned, exported, run and judged as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdeploy import models
from qdeploy.planning.profile import profile_source
from tests.support import quantized as q
from tests.support.command import Command, QuickCommand
from tests.support.real import NEEDS_RUNTIME
from tests.support.rounded import quantize_model

QUICK = ("--windows", "2", "--heldout", "0", "--text", "prose")
LOOSE = ("--max-kl", "9", "--min-top1", "0.1")
FLOAT32 = """
[runtime.properties]
INFERENCE_PRECISION_HINT = "f32"
KV_CACHE_PRECISION = "f32"
DYNAMIC_QUANTIZATION_GROUP_SIZE = 0

[quality]"""


def awq_nano(folder: Path) -> Path:
    """qwen3-nano in AWQ's layout."""
    made = folder / "nano-awq"
    quantize_model(models.path("qwen3-nano"), made, q.awq, q.awq_settings())
    return made


def test_the_plan_says_what_is_kept_and_what_is_not(here: Path, quick: QuickCommand) -> None:
    awq_nano(here)
    done = quick("plan", "nano-awq", "--target", "cpu", "--profile", "cpu-int8", "--json")
    assert done.code == 0, done.stderr
    assert done.json["linear"] == "int4 asym g32 (as stored, awq)"
    assert done.json["quantized_by"] == ["awq"]
    again = quick("plan", "nano-awq", "--target", "cpu", "--profile", "cpu-int8", "--requantize")
    assert "int8" in again.stdout
    assert "as stored" not in again.stdout
    assert "quantized already, by awq" in again.stdout


def test_a_target_that_does_not_take_them(here: Path, quick: QuickCommand) -> None:
    awq_nano(here)
    where = ("export", "nano-awq", "--target", "intel-npu", "-o", "out")
    quick(*where).fails(
        2, "int4 asym g32 of awq, cannot be kept for intel-npu", "symmetric int4 only",
        "--requantize",
    )  # fmt: skip
    done = quick(*where, "--requantize")
    assert done.code == 0, done.stderr
    assert "warning: " in done.stderr
    manifest = json.loads((here / "out" / "qdeploy.json").read_text(encoding="utf-8"))
    assert manifest["plan"]["requantize"] is True
    assert manifest["plan"]["linear"] == "int4 sym g128"


def test_requantize_needs_a_target(quick: QuickCommand) -> None:
    quick("plan", "qwen3-nano", "--requantize").fails(2, "--requantize and --split need a --target")


@NEEDS_RUNTIME
@pytest.mark.slow
def test_judged_by_itself_and_by_the_original(qdeploy: Command) -> None:
    """Against itself nothing is lost; against the original, what its maker lost."""
    awq_nano(qdeploy.folder)
    text = profile_source("cpu-int4-openvino").replace("[quality]", FLOAT32)
    text = text.replace('dtype = "int8"', 'dtype = "fp16"')
    (qdeploy.folder / "it.toml").write_text(text, encoding="utf-8")
    export = ("export", "nano-awq", "--target", "cpu", "--profile", "it.toml")
    for name, more in (("kept", []), ("again", ["--requantize"])):
        done = qdeploy(*export, *more, "-o", name)
        assert done.code == 0, done.stderr

    def divergence(bundle: str, reference: str) -> float:
        done = qdeploy("eval", bundle, "--reference", reference, *QUICK, *LOOSE, "--json")
        assert done.code == 0, done.stderr
        found: float = done.json["results"][0]["kl"]["mean"]
        return found

    assert divergence("kept", "nano-awq") < 1e-8
    lost = divergence("kept", "qwen3-nano")
    assert 1e-3 < lost < 0.1
    assert divergence("again", "qwen3-nano") > lost
    qdeploy("eval", "kept", "--reference", "qwen3-nano-moe", *QUICK).fails(2, "was made from")
