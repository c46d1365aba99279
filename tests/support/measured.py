"""Made-up rows of results, for tests of the code that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdeploy.bench.protocol import Protocol
from qdeploy.bench.statistics import spread
from qdeploy.results import (
    Artifact,
    Bench,
    Conditions,
    Environment,
    Machine,
    Process,
    Result,
    Results,
    Sample,
    write_results,
)
from qdeploy.targets import Evidence

MACHINE = Machine(name="made-up", system="Linux", cpu="a processor", cores=2)
ARTIFACT = Artifact(
    model="made-up", checkpoint_digest="d" * 64, parameters=10**6, profile="here-int4",
    precision="int4 asym g128", format="safetensors", exporter="scripted", bundle_digest="b" * 64,
    bundle_bytes=10**6, bytes_per_token=10**6,
)  # fmt: skip
ENVIRONMENT = Environment(
    target="here", backend="scripted", device="a script", evidence=Evidence.DEVICE,
    placement={"devices": ["SCRIPT"], "proof": "it was written down"},
)  # fmt: skip
PROTOCOL = Protocol((128,), (64,), runs=3, processes=3)
STEADY = ((10.0, 10.1, 10.2), (10.1, 10.0, 9.9), (10.0, 10.2, 9.9))
"""Milliseconds per token of three runs in each of three processes."""


def row(
    tpot_ms: Sequence[Sequence[float]] = STEADY,
    *,
    ttft_ms: float = 100.0,
    memory: int = 10**9,
    protocol: Protocol = PROTOCOL,
    point: tuple[int, int] = (128, 64),
    artifact: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    **changes: Any,
) -> Bench:
    """A row whose every gap of a run is alike, and whose times to first token all are."""
    samples = tuple(
        Sample(process=number, ttft_ms=ttft_ms, inter_token_latencies_ms=(gap,) * (point[1] - 1))
        for number, gaps in enumerate(tpot_ms)
        for gap in gaps
    )
    tpot = spread([s.inter_token_latencies_ms[0] for s in samples])
    fields: dict[str, Any] = {
        "artifact": ARTIFACT.model_copy(update=artifact or {}),
        "environment": ENVIRONMENT.model_copy(update=environment or {}),
        "conditions": Conditions(),
        "protocol": protocol.as_dict(),
        "protocol_hash": protocol.hash,
        "prompt_tokens": point[0],
        "new_tokens": point[1],
        "samples": samples,
        "processes": tuple(Process(load_warm_s=1, peak_memory_bytes=memory) for _ in tpot_ms),
        "ttft_ms": spread([ttft_ms]),
        "tpot_ms": tpot,
        "inter_token_latency_ms": spread([g for s in samples for g in s.inter_token_latencies_ms]),
        "prefill_tokens_per_s": 1000 * point[0] / ttft_ms,
        "decode_tokens_per_s": 1000 / tpot.p50,
    }
    return Bench(**fields | changes)


def write(path: Path, *rows: Result) -> Path:
    """Write a file of results with these rows, and return its path."""
    made = Results(created="2026-01-01T00:00:00+00:00", qdeploy="0", machine=MACHINE, results=rows)
    write_results(made, path)
    return path
