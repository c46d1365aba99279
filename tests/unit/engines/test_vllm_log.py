"""What is read from a server's log. The lines are vLLM 0.32's."""

from __future__ import annotations

import pytest

from qdeploy.engines.vllm.log import Report, explain, read_report
from qdeploy.errors import GenerationFailed, OutOfMemory, QdeployError, TargetUnavailable

STARTED = """\
(EngineCore pid=9) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: \
model='/tmp/m', quantization=compressed-tensors, device_config={device}, seed=0
(EngineCore pid=9) INFO [ompmultiprocessing.py:185]  local_rank=0, core ids=[0, 1, 2]
(Worker pid=9) INFO [__init__.py:923] Using CPUWNA16LinearKernel for mixed-precision linear
(Worker pid=9) INFO [x.py:138] Using CPUWNA16LinearKernel for CompressedTensorsWNA16
(Worker pid=9) INFO [__init__.py:846] Selected CPUInt8ScaledMMLinearKernel for W8A8
(Worker pid=9) INFO [x.py:1] Using CPUUnquantizedExperts MoE backend
(Worker pid=9) INFO [cuda.py:507] Using FLASH_ATTN attention backend out of potential backends: x.
(EngineCore pid=9) INFO [utils.py:347] Using LBHNC KV cache layout.
"""


def test_device_kernels_and_threads() -> None:
    assert read_report(STARTED.format(device="cpu")) == Report(
        "0.32.0",
        "cpu",
        (
            "CPUWNA16LinearKernel",
            "CPUInt8ScaledMMLinearKernel",
            "CPUUnquantizedExperts",
            "FLASH_ATTN",
        ),
        3,
    )


def test_the_last_start_of_a_log_counts() -> None:
    found = read_report(STARTED.format(device="cpu") + STARTED.format(device="cuda"))
    assert found is not None
    assert found.device == "cuda"


def test_a_log_that_says_nothing_proves_nothing() -> None:
    assert read_report("INFO: Uvicorn running") is None


@pytest.mark.parametrize(
    ("line", "kind", "fix"),
    [
        ("ModuleNotFoundError: No module named 'vllm'", TargetUnavailable, "engine install"),
        ("RuntimeError: operator torchvision::nms does not exist", TargetUnavailable, "uninstall"),
        ("RuntimeError: Failed to infer device type", TargetUnavailable, "engine install"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", OutOfMemory, "shorter --context"),
        ("ValueError: No available memory for the cache blocks.", OutOfMemory, "--context"),
        ("NotImplementedError: No WNA16 MoE backend supports the", GenerationFailed, "profile"),
        ("ValueError: something new", GenerationFailed, "the log"),
    ],
)
def test_why_it_did_not_start(line: str, kind: type[QdeployError], fix: str) -> None:
    lines = [
        "(APIServer pid=1) INFO 11-29 [model.py:733] Resolved architecture: Qwen3ForCausalLM",
        f"(Worker pid=3) ERROR 11-29 23:03:20 [multiproc_executor.py:1063] {line}",
        "(EngineCore pid=2) ERROR [core.py:1512] RuntimeError: WorkerProc initialization failed",
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    error = explain(lines, "/logs/1.log")
    assert type(error) is kind
    assert line.partition(": ")[2] in error.what
    assert fix in str(error.fix)
    assert error.where == "/logs/1.log"


def test_a_log_without_an_error_explains_nothing() -> None:
    assert explain(["INFO: Uvicorn running"]) is None
