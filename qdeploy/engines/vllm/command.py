"""The command line and the environment of a vLLM server, as data.

Flags are those of `vllm serve` (0.32, `engine/arg_utils.py` and
`entrypoints/launchers/cli_args.py`). Of the platforms, the CPU's was run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qdeploy.engines.process import LOOPBACK
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM

MODULE = "vllm.entrypoints.openai.api_server"
"""The server's module. The program `vllm` looks its version up under a name that the wheel for CPUs
does not have, and ends (0.32)."""
KEY = "VLLM_API_KEY"
"""The variable with the key that requests must have: a command line is seen by other users."""
THREADS = "VLLM_CPU_OMP_THREADS_BIND"
"""The variable that binds a CPU's threads to cores: those of one rank, or `|` between ranks."""
SCHEMAS = '{"backend": "guidance", "disable_any_whitespace": true}'
"""How answers are kept to a JSON schema: by llguidance, as qdeploy's own loops do, without blanks
between the tokens of JSON, of which small models make no end."""
Value = str | int | float | bool

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""vLLM's names of a profile's `graph.activations`."""

QUIET: Mapping[str, str | None] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    # what placement is read from
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
    "VLLM_LOGGING_COLOR": "0",
    # packages of this process's environment are for another Python
    "PYTHONPATH": None,
    "PYTHONHOME": None,
}
"""Variables of every server; None removes one."""


@dataclass(frozen=True)
class Platform:
    """What a target adds.

    Attributes:
        device: the word for it in vLLM's own configuration (`device_config`).
        mask: the variable that lists the devices to use, by number; None for a CPU.
        environment: variables.
        flags: arguments.
    """

    device: str
    mask: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


PLATFORMS: Mapping[str, Platform] = {
    CUDA.name: Platform("cuda", "CUDA_VISIBLE_DEVICES", {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
    ROCM.name: Platform("cuda", "HIP_VISIBLE_DEVICES"),
    DCU.name: Platform("cuda", "HIP_VISIBLE_DEVICES"),
    ASCEND.name: Platform("npu", "ASCEND_RT_VISIBLE_DEVICES"),
    # compiling takes 35 s at each start, and single tokens of small models gain little
    CPU.name: Platform("cpu", flags=("--enforce-eager",)),
}
"""By the target's name. ROCm's and DTK's torch call their devices `cuda`, too."""


@dataclass(frozen=True)
class Served:
    """What a server is to serve.

    Attributes:
        model: folder with the model's files only; absolute.
        name: the model's name in requests.
        context: most tokens, prompt and answer together.
        sequences: requests at once.
        devices: the devices to use, as the platform's mask lists them; empty for all.
        cache_bytes: memory of the key-value cache; None leaves it to vLLM, which then takes what a
            GPU has left. On a CPU that would be nearly all of the machine's memory.
        threads: CPUs that a CPU's threads are bound to; empty leaves it to vLLM, which takes one of
            each core, but for one core that it keeps for its server.
        options: further flags by name, without dashes; they go before all others.
        sizes: flags of a model that is spread over devices.
    """

    target: str
    model: Path
    name: str
    dtype: str
    context: int
    sequences: int = 1
    devices: tuple[str, ...] = ()
    cache_bytes: int | None = None
    threads: tuple[int, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()


def command(python: Path, served: Served, port: int) -> tuple[str, ...]:
    """The program and its arguments, for a port of loopback."""
    return (
        str(python), "-m", MODULE, "--model", str(served.model),
        *flags(served), "--host", LOOPBACK, "--port", str(port),
    )  # fmt: skip


def flags(served: Served) -> tuple[str, ...]:
    """The arguments that do not depend on where the server listens.

    Sampling that a request does not name is vLLM's own, not that of `generation_config.json`; all
    log-probabilities may be asked for, which `score` does.
    """
    found: dict[str, Value] = {
        "served-model-name": served.name,
        "dtype": served.dtype,
        "max-model-len": served.context,
        "max-num-seqs": served.sequences,
        "max-logprobs": -1,
        "generation-config": "vllm",
        "seed": 0,
        "structured-outputs-config": SCHEMAS,
        "disable-access-log-for-endpoints": "/health,/v1/models",
    }
    if served.cache_bytes is not None:
        found["kv-cache-memory-bytes"] = served.cache_bytes
    words = [word for name, value in found.items() for word in (f"--{name}", str(value))]
    given = dict(served.options)
    platform = [
        flag for flag in PLATFORMS[served.target].flags if flag.removeprefix("--") not in given
    ]
    return (*words, *platform, *_options(given), *served.sizes)


def environment(served: Served) -> dict[str, str | None]:
    """The variables that are added; None removes one."""
    platform = PLATFORMS[served.target]
    found: dict[str, str | None] = {**QUIET, **platform.environment}
    if platform.mask and served.devices:
        found[platform.mask] = ",".join(served.devices)
    if served.threads:
        found[THREADS] = ",".join(map(str, served.threads))
    return found


def _options(given: Mapping[str, Value]) -> Sequence[str]:
    words: list[str] = []
    for name, value in given.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words
