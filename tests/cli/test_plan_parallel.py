"""`qdeploy plan --engine vllm`: the layout of a model on devices and machines, and refusals."""

from __future__ import annotations

import pytest

from tests.support.command import QuickCommand

VLLM = ("--target", "cuda", "--engine", "vllm")


def test_the_largest_model_on_two_machines(quick: QuickCommand) -> None:
    result = quick("plan", "235B-A22B", *VLLM, "--devices", "8x80GB", "--nodes", "2", "--json")
    assert result.code == 0, result.stderr
    best, *others = result.json["layouts"]
    assert (best["tensor"], best["pipeline"], best["expert"]) == (8, 2, True)
    assert (best["kv_heads"], best["kv_heads_repeated"]) == (1, 2)
    assert [(stage["first"], stage["last"]) for stage in best["stages"]] == [(0, 46), (47, 93)]
    assert others
    assert all(layout["fits"] for layout in (best, *others))


def test_the_table(quick: QuickCommand) -> None:
    result = quick("plan", "8B", *VLLM, "--devices", "16x24GB", "--nodes", "2")
    assert result.code == 0, result.stderr
    for words in (
        "2 nodes of 16 x 24GB: tensor 16, pipeline 2",
        "0 to 17",
        "18 to 35",
        "1 on each rank, each on 2 ranks",
        "predicted: nothing was run",
        "--tensor-parallel 8 --pipeline-parallel 4",
    ):
        assert words in result.stdout


def test_devices_by_name_and_sizes_by_options(quick: QuickCommand) -> None:
    result = quick("plan", "30B-A3B", *VLLM, "--devices", "4xh20", "--tensor-parallel", "2",
                   "--data-parallel", "2", "--json")  # fmt: skip
    assert result.code == 0, result.stderr
    [layout] = result.json["layouts"]
    assert (layout["tensor"], layout["data"], layout["expert"]) == (2, 2, True)
    assert layout["cluster"]["memory_bytes"] == 96e9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*VLLM, "--devices", "8"), ["is no number of devices", "8x80GB"]),
        ((*VLLM, "--devices", "2xH21"), ["unknown device 'H21'", "did you mean 'H20'?"]),
        ((*VLLM, "--devices", "2xDCU Z100"), ["memory of 'DCU Z100' is not known"]),
        ((*VLLM, "--devices", "3x80GB", "--tensor-parallel", "3"),
         ["do not divide the 32 attention heads", "--tensor-parallel 1 --pipeline-parallel 3"]),
        ((*VLLM, "--devices", "1x4GB"), ["30B-A3B needs", "--nodes", "or a profile of fewer bits"]),
        (("--target", "intel-npu", "--engine", "vllm", "--devices", "1x80GB"),
         ["it loads the format safetensors, and this plan's is openvino", "another --target"]),
        (("--target", "cuda", "--devices", "1x80GB"), ["need an --engine"]),
        (("--engine", "vllm", "--devices", "1x80GB"), ["needs a --target"]),
    ],
)  # fmt: skip
def test_refusals(arguments: tuple[str, ...], words: list[str], quick: QuickCommand) -> None:
    result = quick("plan", "30B-A3B", *arguments)
    assert result.code == 2 or "needs" in result.stderr
    for word in words:
        assert word in result.stderr
