"""Made-up results of every kind, for tests of reports."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from qdeploy.evaluate.interval import mean_interval
from qdeploy.results import (
    Artifact,
    Bench,
    Conditions,
    Diagnosis,
    Divergence,
    Environment,
    Eval,
    Histogram,
    KlBlock,
    Load,
    LoadProcess,
    LoadSample,
    Machine,
    Percentiles,
    Process,
    Result,
    Results,
    Sample,
    Spread,
)
from qdeploy.targets import Evidence

M = TypeVar("M")
CREATED = "2026-01-02T03:04:05+00:00"
SERVER = Machine(
    name="server", system="Linux 6.1 x86_64", cpu="Made-up 9000 (32 cores)", cores=32,
    memory_bytes=256 * 10**9, power="mains", bandwidth_bytes_per_s=200e9,
)  # fmt: skip
LAPTOP = Machine(
    name="laptop", system="Linux 6.8 x86_64", cpu="Made-up Mobile 7", cores=14,
    memory_bytes=32 * 10**9, power="battery", bandwidth_bytes_per_s=90e9,
)  # fmt: skip


def _made(kind: Callable[..., M], changes: dict[str, Any], usual: dict[str, Any]) -> M:
    return kind(**(usual | changes))


def artifact(profile: str = "intel-cpu-int4", **changes: Any) -> Artifact:
    eight = profile.endswith("int8")
    return _made(
        Artifact, changes, {
            "model": "qwen3-made-up", "checkpoint_digest": "ab" * 32, "parameters": 600_000_000,
            "profile": profile, "precision": "int8 sym channel" if eight else "int4 asym g128",
            "format": "openvino", "exporter": "native", "bundle_digest": profile.ljust(64, "0"),
            "bundle_bytes": 610_000_000 if eight else 406_000_000,
            "bytes_per_token": 596_000_000 if eight else 390_000_000,
        },
    )  # fmt: skip


def environment(
    target: str = "intel-cpu", device: str = "Made-up 9000", **changes: Any
) -> Environment:
    return _made(
        Environment, changes, {
            "target": target, "backend": "openvino", "device": device, "evidence": Evidence.DEVICE,
            "placement": {"devices": ["CPU"], "proof": "EXECUTION_DEVICES of the compiled model"},
            "versions": {"openvino": "2026.4.1"}, "properties": {"INFERENCE_NUM_THREADS": 2},
        },
    )  # fmt: skip


def spread(values: list[float]) -> Spread:
    ordered = sorted(values)

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    return Spread(count=len(ordered), p50=at(0.5), p95=at(0.95), p99=at(0.99))


def bench(
    speed: float = 50.0,
    *,
    of: Artifact | None = None,
    on: Environment | None = None,
    prompt: int = 128,
    new: int = 64,
    protocol_hash: str = "cd" * 32,
    seed: int = 0,
    **changes: Any,
) -> Bench:
    """Return a measurement of about *speed* tokens per second."""
    chance = random.Random(seed)
    samples = tuple(
        Sample(
            process=i // 2,
            ttft_ms=prompt / speed * 40 * chance.uniform(0.97, 1.06),
            inter_token_latencies_ms=tuple(
                1000 / speed * chance.lognormvariate(0, 0.05) * (1.6 if not n % 37 else 1)
                for n in range(new - 1)
            ),
        )
        for i in range(6)
    )
    latencies = [sample.inter_token_latencies_ms for sample in samples]
    ttft = spread([sample.ttft_ms for sample in samples])
    return _made(
        Bench, changes, {
            "artifact": of or artifact(), "environment": on or environment(),
            "conditions": Conditions(load_average=(0.1, 2.0), cpu_steal=0.003),
            "protocol": {"version": 1, "sampling": "greedy", "grid": [[128, 64], [1024, 64]]},
            "protocol_hash": protocol_hash, "prompt_tokens": prompt, "new_tokens": new,
            "samples": samples,
            "processes": tuple(Process(load_warm_s=0.42, threads=t) for t in (9, 8, 8)),
            "load_cold_s": 3.1, "load_warm_s": 0.42, "ttft_ms": ttft,
            "tpot_ms": spread([sum(of_run) / len(of_run) for of_run in latencies if of_run]),
            "inter_token_latency_ms": spread([ms for of_run in latencies for ms in of_run]),
            "prefill_tokens_per_s": 1000 * prompt / ttft.p50,
            "decode_tokens_per_s": speed, "peak_memory_bytes": 920_000_000,
        },
    )  # fmt: skip


def load(
    concurrency: int = 8,
    speed: float = 90.0,
    *,
    of: Artifact | None = None,
    on: Environment | None = None,
    **changes: Any,
) -> Load:
    """Return a measurement of clients that get about *speed* tokens per second together."""
    tpot = 1000 * concurrency / speed
    times = Percentiles(count=32, p50=tpot, p90=1.3 * tpot, p99=2 * tpot)
    sample = LoadSample(
        process=0, start_s=0, ttft_ms=9 * tpot, e2e_ms=72 * tpot, prompt_tokens=128, new_tokens=64
    )
    process = LoadProcess(duration_s=60, inter_token_latencies=Histogram.of([tpot] * 63))
    return _made(
        Load, changes, {
            "artifact": of or artifact(), "environment": on or environment(),
            "conditions": Conditions(load_average=(0.1, 2.0), cpu_steal=0.003),
            "protocol": {"version": "load 1", "shared": 0.5, "goodput": {"ttft": 500}},
            "protocol_hash": "ef" * 32, "concurrency": concurrency, "serves": 32,
            "prompt_tokens": 128, "new_tokens": 64, "samples": (sample,), "processes": (process,),
            "requests_per_s": speed / 64, "output_tokens_per_s": speed,
            "goodput_per_s": speed / 70, "ttft_ms": times, "tpot_ms": times,
            "inter_token_latency_ms": times, "e2e_ms": times, "peak_memory_bytes": 1_000_000_000,
        },
    )  # fmt: skip


def divergence(*means: float, tokens: int = 255) -> Divergence:
    """Return the divergence of a text of passages with these mean KL divergences."""
    blocks = tuple(KlBlock(nats=mean * tokens, tokens=tokens) for mean in means)
    mean = sum(means) / len(means)
    return Divergence(
        mean=mean, p99=9 * mean, max=40 * mean, interval=mean_interval(blocks), blocks=blocks
    )


def evaluation(
    kl: float | Divergence = 0.02, *, of: Artifact | None = None, **changes: Any
) -> Eval:
    """Return a result with this divergence; of a number, one without an interval."""
    if not isinstance(kl, Divergence):
        kl = Divergence(mean=kl, p99=9 * kl, max=40 * kl)
    return _made(
        Eval, changes, {
            "artifact": of or artifact(), "environment": environment(),
            "reference": {"kind": "checkpoint", "name": "qwen3-made-up", "digest": "ab" * 32},
            "text": {"name": "shipped", "sha256": "ef" * 32, "tokens": 4096},
            "kl": kl, "top1_agreement": 0.962,
            "perplexity": 12.31, "reference_perplexity": 12.02, "first_divergence": 41.5,
            "exact_match": {"thinking": 78.0, "answer": 40.0},
            "thresholds": {"kl_mean": 0.05},
        },
    )  # fmt: skip


def diagnosis(target: str = "intel-cpu", status: str = "ok", **changes: Any) -> Diagnosis:
    return _made(
        Diagnosis, changes, {
            "target": target, "backend": "openvino", "model": "qwen3-made-up",
            "evidence": Evidence.DEVICE, "status": status, "seconds": 4.2,
        },
    )  # fmt: skip


def absent(target: str, message: str, fix: str) -> Diagnosis:
    return diagnosis(
        target, "absent", backend=None, model=None, evidence=Evidence.NONE, message=message,
        fix=fix, seconds=None,
    )  # fmt: skip


def file(*results: Result, machine: Machine = SERVER) -> Results:
    return Results(created=CREATED, qdeploy="0.1.0", machine=machine, results=results)


def two_machines() -> list[Results]:
    """Results of a server and a laptop: two models, three devices, one of them simulated."""
    forecast = {"decode_tokens_per_s": 61.0}
    eight = artifact("intel-cpu-int8")
    igpu = environment("intel-gpu", "Made-up Graphics 140 with a very long product name (iGPU)")
    npu = environment("intel-npu", "simulated NPU on Made-up 9000", evidence=Evidence.SIMULATED)
    other = artifact(model="qwen3-other", checkpoint_digest="12" * 32)
    server: list[Result] = [
        bench(51.3, predicted=forecast, memory_bandwidth_utilization=0.1, seed=1),
        bench(47.9, predicted=forecast, memory_bandwidth_utilization=0.093, prompt=1024, seed=2),
        bench(36.2, of=eight, memory_bandwidth_utilization=0.108, seed=3,
              peer="openvino-genai 2026.4.1",
              ratio={"decode": 1.02, "decode_low": 0.98, "decode_high": 1.05, "prefill": 0.99}),
        bench(9.1, of=artifact("intel-npu-int4"), on=npu, seed=4,
              interrupted="the device vanished"),
        bench(212.0, of=other, seed=5, protocol_hash="34" * 32,
              predicted={"decode_tokens_per_s": 180.0}),
        load(1, 51.0), load(8, 160.0), load(32, 210.0, failures={"the queue is full": 3}),
        load(8, 20.0, of=artifact("intel-npu-int4"), on=npu),
        evaluation(0.021), evaluation(0.0011, of=eight, failures=("kl_mean 0.0011 > 0.001",)),
        diagnosis(), diagnosis("intel-npu", evidence=Evidence.SIMULATED, profile="intel-npu-int4"),
        absent("intel-gpu", "no such device", "install the driver"),
        absent("cuda", "no NVIDIA GPU was found", "run on a machine with one"),
        diagnosis("webgpu", "failed", backend="onnxruntime", failure="crash", profile=None,
                  message="the worker was killed by SIGSEGV", fix="update the driver"),
    ]  # fmt: skip
    laptop: list[Result] = [
        bench(88.4, of=artifact("intel-gpu-int4"), on=igpu, seed=6,
              memory_bandwidth_utilization=0.383, predicted={"decode_tokens_per_s": 150.0},
              energy_joules=143.0, energy_source="RAPL"),
        bench(31.0, on=environment(device="Made-up Mobile 7"), seed=7,
              memory_bandwidth_utilization=0.134),
        evaluation(0.0204, of=artifact("intel-gpu-int4"), environment=igpu),
        diagnosis("intel-gpu", profile="intel-gpu-int4"),
    ]  # fmt: skip
    return [file(*server), file(*laptop, machine=LAPTOP)]
