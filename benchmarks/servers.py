"""Servers that benchmarks start, each in a process of its own, and end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from qdeploy.engines.health import check_health
from qdeploy.engines.process import EngineProcess, Launch
from qdeploy.engines.vllm.command import MODULE, THREADS

VLLM_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}  # fmt: skip


def qdeploy_serve(bundle: Path, log: Path, *options: str) -> Launch:
    """`qdeploy serve` with this interpreter."""
    return Launch(
        name="qdeploy serve",
        command=lambda port: (
            sys.executable, "-m", "qdeploy", "serve", str(bundle), "--port", str(port), *options,
        ),
        check=lambda url: check_health(url, "/ready"),
        log=log,
        environment={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def vllm_server(python: Path, model: Path, log: Path, threads: int, streams: int) -> Launch:
    """VLLM's server for CPUs, in its own environment, with prefix caching as by its default."""
    cores: Sequence[int] = sorted(os.sched_getaffinity(0))[:threads]
    environment: Mapping[str, str | None] = {
        **VLLM_ENVIRONMENT,
        THREADS: ",".join(map(str, cores)),
        "PYTHONPATH": None,
    }
    return Launch(
        name="vllm",
        command=lambda port: (
            str(python), "-m", MODULE, "--model", str(model),
            "--served-model-name", "model", "--host", "127.0.0.1", "--port", str(port),
            "--max-model-len", "2048", "--max-num-seqs", str(streams),
        ),
        check=check_health,
        log=log,
        environment=environment,
    )  # fmt: skip


@contextmanager
def started(launch: Launch) -> Iterator[EngineProcess]:
    """Start a server, wait until it is ready, and end it with all that it started."""
    process = EngineProcess(launch)
    try:
        process.await_ready(threading.Event())
        yield process
    finally:
        process.stop()
