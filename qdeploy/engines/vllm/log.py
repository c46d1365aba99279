"""What a vLLM server says of itself in its log: where it runs, with which kernels, why it ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qdeploy.errors import GenerationFailed, OutOfMemory, QdeployError, TargetUnavailable

DEVICE = re.compile(r"Initializing a V1 LLM engine \(v(\S+)\) with config: .*?device_config=(\w+)")
KERNELS = re.compile(
    r"(?:Using|Selected) (\w*(?:Kernel|Experts))\b"
    r"|Using (?:AttentionBackendEnum\.)?(\w+) (?:attention )?backend(?: out of| \(selected|\.)"
)
THREADS = re.compile(r"local_rank=\d+, core ids=\[([\d, ]+)\]")
ERROR = re.compile(r"\b(?:\w+\.)*(\w*(?:Error|Exception)): (.+)")
UNTOLD = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|Worker failed with error"
    r"|EngineCore encountered an issue"
)
"""Errors that stand for another one, which is said before them."""
LONGEST = 300


@dataclass(frozen=True)
class Report:
    """What a server says once it is ready.

    Attributes:
        version: of vLLM.
        device: the type of device of its configuration: `cpu`, `cuda`, `npu`.
        kernels: kernels of linear layers, of experts, and attention, each once.
        threads: CPU threads of a rank, where it runs on the CPU.
    """

    version: str
    device: str
    kernels: tuple[str, ...] = ()
    threads: int | None = None


def read_report(text: str) -> Report | None:
    """Return what the last server of a log says; None if it says nothing of its device."""
    found = list(DEVICE.finditer(text))
    if not found:
        return None
    last = found[-1]
    rest = text[last.start() :]
    kernels = dict.fromkeys(m[1] or m[2] for m in KERNELS.finditer(rest))
    bound = THREADS.search(rest)
    return Report(last[1], last[2], tuple(kernels), len(bound[1].split(",")) if bound else None)


@dataclass(frozen=True)
class Cause:
    """A reason to end that is known.

    Attributes:
        words: that vLLM or a library says.
        error: the kind of error.
        fix: what to do.
    """

    words: re.Pattern[str]
    error: Callable[[str, str], QdeployError]
    fix: str


def _failed(what: str, fix: str) -> QdeployError:
    return GenerationFailed(what, fix=fix)


def _memory(what: str, fix: str) -> QdeployError:
    return OutOfMemory(what, fix=fix)


CAUSES = (
    Cause(
        re.compile(r"No module named 'vllm|No package metadata was found for vllm"),
        TargetUnavailable,
        "qdeploy engine install vllm --force",
    ),
    Cause(
        re.compile(r"torchvision::nms does not exist"),
        TargetUnavailable,
        "in vLLM's environment: pip uninstall torchvision torchaudio torchcodec",
    ),
    Cause(
        re.compile(r"Failed to infer device type"),
        TargetUnavailable,
        "install the build of vLLM for this hardware: qdeploy engine install vllm --force",
    ),
    Cause(
        re.compile(
            r"out of memory|No available memory for the cache blocks|larger than the available KV"
            r"|Free memory on device .* is less than desired|Cannot allocate memory"
        ),
        _memory,
        "give a shorter --context, fewer requests at once, more --devices, or a profile of fewer "
        "bits",
    ),
    Cause(
        re.compile(r"No \w+ MoE backend supports|not supported by CPUWNA16|cpu_gemm_wna16"),
        _failed,
        "vLLM has no kernel for this bundle here: export it with another profile, or run it with "
        "another --backend",
    ),
)
OTHER_FIX = "the log has all of it"


def explain(lines: Sequence[str], where: object = None) -> QdeployError | None:
    """Return why a server did not start, by the errors in its log; None if it tells none."""
    said = [m for m in map(ERROR.search, lines) if m]
    for cause in CAUSES:
        for line in lines:
            if cause.words.search(line):
                hit = ERROR.search(line)
                what = (hit[0] if hit else line)[-LONGEST:]
                error = cause.error(f"vLLM does not start: {what}", cause.fix)
                error.where = None if where is None else str(where)
                return error
    causes = [m for m in said if not UNTOLD.search(m[0])] or said
    if not causes:
        return None
    what = causes[-1][0][:LONGEST]
    return GenerationFailed(f"vLLM does not start: {what}", where=where, fix=OTHER_FIX)
