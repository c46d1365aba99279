"""Command lines and environments of a vLLM server, for every platform."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qdeploy.engines.vllm.command import PLATFORMS, Served, command, environment

SERVED = Served("cuda", Path("/models/q"), "qwen3-8b", "bfloat16", 4096, sequences=16)
COMMON = (
    "--served-model-name qwen3-8b --dtype bfloat16 --max-model-len 4096 --max-num-seqs 16 "
    "--max-logprobs -1 --generation-config vllm --seed 0 --structured-outputs-config"
).split()


def words(served: Served) -> list[str]:
    return list(command(Path("/env/bin/python"), served, 8000))


@pytest.mark.parametrize("target", PLATFORMS)
def test_a_server_listens_on_loopback_and_loads_local_files_only(target: str) -> None:
    line = words(replace(SERVED, target=target))
    assert line[:5] == [
        "/env/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/models/q"
    ]  # fmt: skip
    assert line[5 : 5 + len(COMMON)] == COMMON
    assert line[-4:] == ["--host", "127.0.0.1", "--port", "8000"]
    assert "--trust-remote-code" not in line
    set_ = environment(replace(SERVED, target=target))
    assert set_["HF_HUB_OFFLINE"] == set_["VLLM_NO_USAGE_STATS"] == "1"
    assert set_["PYTHONPATH"] is None


def added(target: str, **changed: object) -> tuple[list[str], dict[str, str | None]]:
    """What a target adds to the flags and variables of all."""
    served = replace(SERVED, target=target, **changed)  # type: ignore[arg-type]
    common = environment(replace(SERVED, target="rocm"))
    line = words(served)[8 + len(COMMON) : -4]
    return line, {k: v for k, v in environment(served).items() if k not in common}


def test_cuda() -> None:
    line, variables = added("cuda", devices=("2",))
    assert line == []
    assert variables == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2"}


def test_rocm_and_dcu() -> None:
    for target in ("rocm", "dcu"):
        assert added(target, devices=("0", "3")) == ([], {"HIP_VISIBLE_DEVICES": "0,3"})


def test_ascend() -> None:
    assert added("ascend", devices=("1",)) == ([], {"ASCEND_RT_VISIBLE_DEVICES": "1"})


def test_cpu() -> None:
    line, variables = added("cpu", cache_bytes=2**30, threads=(0, 1, 4))
    assert line == ["--kv-cache-memory-bytes", str(2**30), "--enforce-eager"]
    assert variables == {"VLLM_CPU_OMP_THREADS_BIND": "0,1,4"}


def test_options_become_flags_and_replace_a_platforms_own() -> None:
    options = {"enforce-eager": False, "max-num-batched-tokens": 512, "kv-cache-dtype": "fp8"}
    line, _ = added("cpu", options=options)
    assert line == [
        "--no-enforce-eager", "--max-num-batched-tokens", "512", "--kv-cache-dtype", "fp8"
    ]  # fmt: skip


def test_a_spread_models_sizes_come_last() -> None:
    line, _ = added("cuda", sizes=("--tensor-parallel-size", "2"))
    assert line == ["--tensor-parallel-size", "2"]
