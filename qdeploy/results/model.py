"""The content of a results file as pydantic models; the published schema is generated from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from qdeploy.results.conditions import Conditions
from qdeploy.results.load import Load
from qdeploy.results.quality import EncodingEval, Eval
from qdeploy.results.subject import Amount, Artifact, Bytes, Environment, Machine, Positive
from qdeploy.storage.toml_file import Strict
from qdeploy.targets import Evidence


def _not_all_zero(latencies_ms: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(latencies_ms):
        raise ValueError("no time passed between the tokens")
    return latencies_ms


class Spread(Strict):
    """Number of samples of a measure, their median and percentiles."""

    count: int = Field(gt=0)
    p50: Amount
    p95: Amount
    p99: Amount


class Process(Strict):
    """One of the measuring processes; the runs are divided among them.

    Attributes:
        load_cold_s: seconds to load with nothing cached, in a separate process just before.
        load_warm_s: seconds to load in this process.
        threads: threads of the process when it ended, the runtime's included; None except on
            Linux.
        load_average, cpu_steal: as in `Conditions`, for the time this process measured.
    """

    load_cold_s: Amount | None = None
    load_warm_s: Amount
    peak_memory_bytes: Bytes | None = None
    device_peak_memory_bytes: Bytes | None = None
    energy_joules: Amount | None = None
    threads: int | None = None
    load_average: tuple[float, float] | None = None
    cpu_steal: float | None = None


class Sample(Strict):
    """One generation.

    Attributes:
        process: index of the process that measured it.
        ttft_ms: time to first token, from passing the prompt to the runtime.
        inter_token_latencies_ms: times between consecutive tokens, in order.
    """

    process: int = Field(ge=0)
    ttft_ms: Positive
    inter_token_latencies_ms: Annotated[tuple[Amount, ...], AfterValidator(_not_all_zero)]


class Bench(Strict):
    """Speed and cost of one bundle at one grid point (prompt tokens, new tokens).

    Attributes:
        protocol: the benchmark protocol; only results of equal *protocol_hash* are compared.
        samples, processes: the raw values; every figure below is computed from them.
        interrupted: why there are fewer samples than the protocol specifies; None if complete.
        load_cold_s, load_warm_s: seconds to load with nothing cached, and with files and compiled
            kernels cached by the load before; medians over the processes.
        prefill_tokens_per_s: prompt tokens divided by the median time to first token.
        tpot_ms: time per output token, the mean inter-token latency of each run.
        inter_token_latency_ms: over the single inter-token latencies of all runs.
        decode_tokens_per_s: from the median of *tpot_ms*.
        peak_memory_bytes: peak resident memory of the process, without device memory.
        energy_joules: energy of all runs of the processes that finished, read from
            *energy_source*; without a meter, *energy_source* says why.
        memory_bandwidth_utilization: bytes per token times tokens per second, divided by the
            machine's bandwidth. Above 1 if the weights stay in the CPU's cache.
        predicted: *decode_tokens_per_s* predicted by the roofline model from the bandwidth measured
            in the same run; None if the efficiency of this backend on this target is unknown.
        peer: library, version and number of threads, measured in alternation with qdeploy;
            *peer_samples* are its runs, *peer_failure* says why there are fewer of them.
        ratio: speed divided by the peer's: median, lowest and highest of the rounds as `prefill`,
            `prefill_low`, `prefill_high`, and the same for `decode`.
    """

    kind: Literal["bench"] = "bench"
    artifact: Artifact
    environment: Environment
    conditions: Conditions
    protocol: dict[str, Any]
    protocol_hash: str
    prompt_tokens: int = Field(gt=0)
    new_tokens: int = Field(gt=1)
    samples: tuple[Sample, ...] = Field(min_length=1)
    processes: tuple[Process, ...] = ()
    interrupted: str | None = None
    load_cold_s: Amount | None = None
    load_warm_s: Amount | None = None
    ttft_ms: Spread
    tpot_ms: Spread
    inter_token_latency_ms: Spread
    prefill_tokens_per_s: Positive
    decode_tokens_per_s: Positive
    peak_memory_bytes: Bytes | None = None
    device_peak_memory_bytes: Bytes | None = None
    energy_joules: Amount | None = None
    energy_source: str | None = None
    memory_bandwidth_utilization: Amount | None = None
    predicted: dict[str, float] | None = None
    peer: str | None = None
    peer_samples: tuple[Sample, ...] = ()
    peer_failure: str | None = None
    ratio: dict[str, float] | None = None

    @property
    def point(self) -> str:
        """What identifies the row besides model, target, backend and profile."""
        return f"{self.prompt_tokens}+{self.new_tokens}"

    @property
    def joules_per_token(self) -> float | None:
        """Energy per new token, prefill included, over the processes that have a meter."""
        metered = {i for i, p in enumerate(self.processes) if p.energy_joules is not None}
        tokens = self.new_tokens * sum(sample.process in metered for sample in self.samples)
        return self.energy_joules / tokens if self.energy_joules is not None and tokens else None


class Diagnosis(Strict):
    """The diagnosis of one target and backend, by doctor or by the matrix.

    Attributes:
        status: `ok`; `absent`, the hardware or software is missing, which is no failure; `failed`.
        failure: `crash`, `hang`, `wrong` (wrong answers), or `error` (raised by the runtime).
        message, fix: one line each, unless the status is `ok`.
    """

    kind: Literal["diagnosis"] = "diagnosis"
    target: str
    backend: str | None
    model: str | None = None
    profile: str | None = None
    device: str | None = None
    evidence: Evidence
    status: Literal["ok", "absent", "failed"]
    failure: Literal["crash", "hang", "wrong", "error"] | None = None
    message: str | None = None
    fix: str | None = None
    seconds: float | None = None


Result = Annotated[Bench | Load | Eval | EncodingEval | Diagnosis, Field(discriminator="kind")]


class Results(Strict):
    """A results file: one machine and its results, of any kind.

    Attributes:
        created: UTC time in ISO 8601.
        qdeploy: version of qdeploy that wrote the file.
    """

    schema_version: Literal[4] = 4
    created: str
    qdeploy: str
    machine: Machine
    results: tuple[Result, ...]
