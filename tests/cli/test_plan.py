"""`qdeploy plan`: a table of all targets for each model, offline, and each refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.checkpoint.published.names import published_sizes
from qdeploy.targets import BUILT_IN
from tests.support.checkpoints import shape_of_0_6b, write_checkpoint
from tests.support.command import Command, QuickCommand


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("size", published_sizes())
def test_every_published_size_has_a_row_for_every_target_offline(
    size: str, quick: QuickCommand
) -> None:
    result = quick("plan", f"Qwen/Qwen3-{size}", "--context", "4096", "--json")
    assert result.code == 0, result.stderr
    assert result.json["model"] == f"Qwen/Qwen3-{size}"
    rows = result.json["forecasts"]
    assert {t.name for t in BUILT_IN} <= {row["target"] for row in rows}
    assert {row["evidence"] for row in rows} == {"predicted"}
    assert all(row["needed_bytes"] > 0 for row in rows)
    assert all(row["reason"] for row in rows if row["decode_tokens_per_s"] is None)


@pytest.mark.usefixtures("cpu")
def test_the_table(quick: QuickCommand) -> None:
    result = quick("plan", "8B", "--context", "8192", "--prompt", "1000")
    assert result.code == 0, result.stderr
    first, second, *_ = result.stdout.splitlines()
    assert first == "Qwen/Qwen3-8B (Qwen3ForCausalLM, 8,190,735,360 parameters)"
    assert second == "context of 8192 tokens; speeds of one request, prompt of 1000"
    rows = {line.split("  ")[0].strip() for line in result.stdout.splitlines()}
    assert {t.name for t in BUILT_IN} <= rows
    for words in ("A100 80GB", "none yet", "intel-npu-int4", "predicted", "not published"):
        assert words in result.stdout


@pytest.mark.usefixtures("cpu")
def test_limits_and_expected_speeds_are_told_apart(quick: QuickCommand) -> None:
    result = quick("plan", "0.6B", "--device", "this CPU")
    heading, _, by_cpu, by_intel, *_ = result.stdout.splitlines()[3:]
    assert "speeds are" in heading
    assert by_cpu.split()[0] == "cpu"
    assert (" limit " in by_cpu, " expected " in by_cpu) == (True, False)
    assert by_intel.split()[0] == "intel-cpu"
    assert (" limit " in by_intel, " expected " in by_intel) == (False, True)
    full = "limit: the device's full bandwidth and rate of operations; no run was measured there\n"
    assert full in result.stdout
    assert "expected: the share of bandwidth and rate that measured runs reached\n" in result.stdout
    detail = quick("plan", "0.6B", "--target", "intel-cpu").stdout
    assert "expected: the share of bandwidth" in detail
    assert "limit: the device's full bandwidth" not in detail


def test_a_published_model_and_its_checkpoint_have_the_same_forecast(
    here: Path, quick: QuickCommand
) -> None:
    write_checkpoint(here / "model", shape_of_0_6b())
    on_disk, described = (
        quick("plan", name, "--device", "H20", "--json").json for name in ("model", "0.6B")
    )
    assert on_disk["parameters"] == described["parameters"] == 596_049_920
    for forecast in (*on_disk["forecasts"], *described["forecasts"]):
        forecast.pop("export_peak_bytes")  # the tokenizer of the one on disk is a small one
    assert on_disk["forecasts"] == described["forecasts"]


@pytest.mark.usefixtures("cpu")
def test_one_target_in_detail_shows_its_forecast_too(quick: QuickCommand) -> None:
    result = quick("plan", "Qwen/Qwen3-0.6B", "--target", "intel-cpu")
    assert result.code == 0, result.stderr
    for words in ("int4 asym g128", "predicted peak", "tokens exported for", "decode tok/s"):
        assert words in result.stdout
    as_json = quick("plan", "0.6B", "--target", "intel-gpu", "--device", "Arc B580", "--json").json
    [row] = as_json["forecasts"]
    assert (row["device"], row["profile"]) == ("Arc B580", "intel-gpu-int4")
    assert as_json["by_precision"]


def test_devices_filter_in_any_case(quick: QuickCommand) -> None:
    result = quick("plan", "8B", "--device", "h20", "--device", "rtx 4090", "--json").json
    assert {row["device"] for row in result["forecasts"]} == {"H20", "RTX 4090"}


def test_more_memory_is_needed_for_more_context(quick: QuickCommand) -> None:
    needed = [
        quick("plan", "8B", "--device", "H20", "--context", n, "--json").json["forecasts"][0][
            "needed_bytes"
        ]
        for n in ("1000", "2000")
    ]
    assert needed[1] - needed[0] >= 1000 * 147_456 * 0.9


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["someone/Qwen3-9B"],
            1,
            ["hub could not be reached", "someone/Qwen3-9B", "Qwen/Qwen3-0.6B, Qwen/Qwen3-1.7B"],
        ),
        (["a/b", "--target", "intel-cpu"], 1, ["could not be reached", "Qwen/Qwen3-235B-A22B"]),
        (["Qwen3-9B"], 2, ["or hub id is called 'Qwen3-9B'", "did you mean 'Qwen/Qwen3-8B'"]),
        (["9B"], 2, ["choose one of", *(f"Qwen/Qwen3-{size}" for size in published_sizes())]),
        (["9B", "--target", "cpu"], 2, ["is called '9B'", "Qwen/Qwen3-235B-A22B, ", "qwen3-nano"]),
        (["qwen3-nanoo"], 2, ["is called 'qwen3-nanoo'", "did you mean 'qwen3-nano'?"]),
        (
            ["8B", "--target", "cuda", "--device", "H20", "--device", "arc b580"],
            2,
            ["'Arc B580' is no device of cuda", "--target intel-gpu or webgpu"],
        ),
        (["8B", "--device", "H21"], 2, ["unknown device 'H21'", "did you mean 'H20'?"]),
        (["8B", "--device", ""], 2, ["unknown device ''", "choose one of", "Arc B580"]),
        (["8B", "--context", "131073"], 2, ["takes 1 to 131072", "--context 131072 or less"]),
        (["8B", "--context", "0"], 2, ["a context of 0 tokens"]),
        (["8B", "--prompt", "0"], 2, ["prompt"]),
        (["8B", "--profile", "intel-cpu-int8"], 2, ["need a --target"]),
        (["8B", "--backend", "openvino"], 2, ["need a --target"]),
        (["8B", "--adapter", "adapter"], 2, ["need a --target"]),
        (["8B", "--target", "cpu", "--backend", "openvin"], 2, ["did you mean 'openvino'?"]),
        (["8B", "--target", "intel-cpu", "--context", "131073"], 2, ["takes 1 to 131072"]),
        (["8B", "--target", "nvidia"], 2, ["unknown target 'nvidia'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused(
    arguments: list[str], code: int, says: list[str], qdeploy: Command, quick: QuickCommand
) -> None:
    command = qdeploy if code == 1 else quick  # the hub's library reads its address at import
    command("plan", *arguments).fails(code, *says)


@pytest.mark.usefixtures("cpu")
class TestDeviceMemory:
    """What each device takes of a model whose layers can be on several."""

    COMMAND = ("plan", "8B", "--target", "cuda", "--profile", "cuda-int4", "--device", "H20")

    def test_one_device_has_all_layers(self, quick: QuickCommand) -> None:
        assert (
            "device memory:    12.5 GB for layers 0 to 35: weights" in quick(*self.COMMAND).stdout
        )

    def test_a_split_has_a_row_for_each_device(self, quick: QuickCommand) -> None:
        planned = quick(*self.COMMAND, "--split", "3", "--json").json
        parts = planned["device_memory"]
        assert [part["first"] for part in parts] == [0, *(p["last"] + 1 for p in parts[:-1])]
        cache = planned["context"] * planned["kv_bytes_per_token"]
        assert sum(part["cache"] for part in parts) == cache
        assert quick(*self.COMMAND, "--split", "3").stdout.count("device memory:") == 3

    def test_more_devices_than_layers_are_refused(self, quick: QuickCommand) -> None:
        quick(*self.COMMAND, "--split", "37").fails(
            2, "37 devices for the 36 layers", "fix: give 36"
        )

    def test_another_format_is_not_split(self, quick: QuickCommand) -> None:
        command = (*self.COMMAND[:4], "--profile", "cuda-int4-onnx", "--device", "H20")
        refused = quick(*command, "--split", "2")
        refused.fails(2, "models of the format onnx run on one device", "or --profile cuda-int4")
        assert quick(*command, "--json").json["device_memory"] == []

    def test_it_needs_a_target(self, quick: QuickCommand) -> None:
        quick("plan", "8B", "--split", "2").fails(2, "--split need a --target")


def test_a_backend_that_is_named_has_to_run_the_plan(quick: QuickCommand) -> None:
    command = ("plan", "qwen3-nano-moe", "--target", "cpu", "--backend", "vllm", "--profile")
    quick(*command, "cpu-int8-vllm").fails(
        2, "the backend vllm cannot run it: model.layers.0.mlp.experts", "experts in floats only",
        "fix: --profile with another one", "cpu-fp16-vllm",
    )  # fmt: skip
    assert "profile cpu-fp16-vllm" in quick(*command, "cpu-fp16-vllm").stdout
