"""What a file of results says: pydantic models, of which the published schema is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from qdeploy.storage.toml_file import Strict
from qdeploy.targets import Evidence

Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Bytes = Annotated[int, Field(gt=0)]


def _some_time(gaps_ms: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(gaps_ms):
        raise ValueError("no time passed between the tokens")
    return gaps_ms


class Machine(Strict):
    """The machine that the results come from.

    Attributes:
        name: what its owner calls it; the host's name by default.
        system: operating system and architecture, e.g. `Linux 6.1 x86_64`.
        cores: processor cores that the process may use.
        power: where the power comes from; None where the system does not tell.
        bandwidth_bytes_per_s: how fast memory was read, all cores together; None if not measured.
    """

    name: str
    system: str
    cpu: str
    cores: int
    memory_bytes: Bytes | None = None
    power: Literal["mains", "battery"] | None = None
    bandwidth_bytes_per_s: Positive | None = None


class Artifact(Strict):
    """What ran: a bundle, by content.

    Attributes:
        digest: sha256 of the checkpoint; results of equal digests are of one model.
        precision: of the linear weights, in the short form: `int4 asym g128`.
        bundle_digest: sha256 of the bundle.
        bytes_per_token: of weights that one decoded token reads, as planned: with a mixture of
            experts, those of the chosen ones only.
    """

    model: str
    digest: str
    parameters: int
    profile: str
    precision: str
    format: str
    exporter: str
    bundle_digest: str
    bundle_bytes: int
    bytes_per_token: int | None = None


class Environment(Strict):
    """Where it ran and how that is known.

    Attributes:
        device: product name; a simulated device's says what it is.
        placement: devices, proof, nodes and what fell back, as `run --json` prints it.
        versions: of the runtimes, by distribution.
        properties: settings that the runtime was given, threads among them: the profile's, and
            variables of the environment that runtimes read their threads from.
    """

    target: str
    backend: str
    device: str
    evidence: Evidence
    driver: str | None = None
    placement: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    properties: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Spread(Strict):
    """A measure over its samples: how many, median and percentiles."""

    count: int = Field(gt=0)
    p50: Amount
    p95: Amount
    p99: Amount


class Conditions(Strict):
    """What else the machine did meanwhile.

    Attributes:
        load_average: of one minute, at the beginning and at the end; None off POSIX.
        steal: part of the processors' time, 0 to 1, that the hypervisor gave to others; None off
            Linux.
    """

    load_average: tuple[float, float] | None = None
    steal: float | None = None


class Process(Strict):
    """One of the processes that the runs were spread over.

    Attributes:
        load_cold_s: by a process of its own, right before, with nothing cached.
        load_warm_s: by this one.
        threads: of the process at its end, the runtime's and all others; None off Linux.
        steal, load_average: as in `Conditions`, while this process measured.
    """

    load_cold_s: Amount | None = None
    load_warm_s: Amount
    peak_memory_bytes: Bytes | None = None
    device_peak_memory_bytes: Bytes | None = None
    energy_joules: Amount | None = None
    threads: int | None = None
    load_average: tuple[float, float] | None = None
    steal: float | None = None


class Sample(Strict):
    """One generation.

    Attributes:
        process: index of the process that made it; runs are spread over several.
        ttft_ms: from the prompt handed over to the first token.
        gaps_ms: between tokens, in order.
    """

    process: int = Field(ge=0)
    ttft_ms: Positive
    gaps_ms: Annotated[tuple[Amount, ...], AfterValidator(_some_time)]


class Bench(Strict):
    """Speed and cost of one bundle at one point of the grid.

    Attributes:
        protocol: the written protocol, and its hash: only equal ones compare.
        samples, processes: the raw values; every figure below is of these.
        interrupted: why there are fewer samples than the protocol asks for; None if all are there.
        load_cold_s, load_warm_s: seconds to load with nothing cached, and with files and compiled
            kernels kept from the load before; medians over the processes.
        prefill_tokens_per_s: prompt tokens over the median time to first token.
        tpot_ms: mean gap of each run; `gap_ms`: every single gap.
        decode_tokens_per_s: from the median of `tpot_ms`.
        peak_memory_bytes: resident memory of the process at its peak; device memory apart.
        energy_joules: of all runs of the processes that ended, from *energy_source*; where the
            platform tells none, that says why.
        bandwidth_share: bytes a token times tokens a second, over the machine's bandwidth. Above 1
            where the weights stay in the processor's cache.
        predicted: `decode_tokens_per_s` as a roofline of the bandwidth measured in the same run has
            it; None where it was never measured what part of that this backend reaches there.
        peer: library and version that took turns with this one, and *peer_samples* its runs;
            *peer_failure* says why they are fewer.
        ratio: speed over the peer's: the median, lowest and highest of the rounds as `prefill`,
            `prefill_low`, `prefill_high` and the same for `decode`.
    """

    kind: Literal["bench"] = "bench"
    subject: Artifact
    where: Environment
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
    gap_ms: Spread
    prefill_tokens_per_s: Positive
    decode_tokens_per_s: Positive
    peak_memory_bytes: Bytes | None = None
    device_peak_memory_bytes: Bytes | None = None
    energy_joules: Amount | None = None
    energy_source: str | None = None
    bandwidth_share: Amount | None = None
    predicted: dict[str, float] | None = None
    peer: str | None = None
    peer_samples: tuple[Sample, ...] = ()
    peer_failure: str | None = None
    ratio: dict[str, float] | None = None

    @property
    def joules_per_token(self) -> float | None:
        """Energy over the new tokens of the processes that told theirs; prefill is in it."""
        metered = {i for i, p in enumerate(self.processes) if p.energy_joules is not None}
        tokens = self.new_tokens * sum(sample.process in metered for sample in self.samples)
        return self.energy_joules / tokens if self.energy_joules is not None and tokens else None


class Divergence(Strict):
    """Kullback-Leibler divergence from the reference, in nats a token."""

    mean: float
    p99: float
    max: float


class Eval(Strict):
    """How far a bundle's answers are from its reference's.

    Attributes:
        reference: name and digest of what it is compared with.
        text: name and sha256 of the text, and the tokens of it that were scored.
        top1_agreement: part of the positions where both prefer the same token.
        first_divergence: tokens that greedy decoding of both has in common, the median of prompts.
        exact_match: percent of held-out questions answered exactly, by `thinking` and `answer`.
        thresholds: what the profile allows; *failures* says which were passed, empty if none.
    """

    kind: Literal["eval"] = "eval"
    subject: Artifact
    where: Environment
    reference: dict[str, str]
    text: dict[str, str | int]
    kl: Divergence
    top1_agreement: float
    perplexity: float
    reference_perplexity: float
    first_divergence: float | None = None
    exact_match: dict[str, float] | None = None
    thresholds: dict[str, float] = Field(default_factory=dict)
    failures: tuple[str, ...] = ()


class Diagnosis(Strict):
    """What doctor, or the matrix, found out about one target and backend.

    Attributes:
        status: `ok`; `absent`, which is not broken; or `failed`.
        failure: which kind: `crash`, `hang`, `wrong` answers, or an `error` told by the runtime.
        message, fix: in one line each, where the status is not `ok`.
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


Result = Annotated[Bench | Eval | Diagnosis, Field(discriminator="kind")]


class Results(Strict):
    """A file of results.

    Attributes:
        created: UTC time in ISO 8601.
        qdeploy: version of qdeploy.
    """

    schema_version: Literal[1] = 1
    created: str
    qdeploy: str
    machine: Machine
    results: tuple[Result, ...]
