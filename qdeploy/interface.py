"""The contracts: what an exporter and a backend are to the rest of qdeploy.

A backend adapts one runtime. It is found through the entry-point group `qdeploy.backends`, an
exporter through `qdeploy.exporters`; the core never imports either by any other way. Importing
a backend's module must be cheap: the runtime itself is imported inside its methods.

Token ids are the language spoken across this seam. Tokenizing, the chat template, thinking and
detokenizing belong to the core (`qdeploy.generation.generate`), so every backend gets the same ids.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qdeploy.errors import InputError
from qdeploy.storage.workdir import SCRATCH as SCRATCH  # part of the exporters' contract
from qdeploy.targets import Evidence, Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from qdeploy.bundle import Bundle
    from qdeploy.errors import Refusal
    from qdeploy.planning.plan import Plan

Property = str | int | float | bool
"""A runtime setting, as a profile writes it."""


@dataclass(frozen=True)
class Device:
    """One piece of hardware that a backend found.

    Attributes:
        id: the runtime's own name for it, e.g. `CPU`, `GPU.1`, `cuda:0`.
        name: the product name. A simulated device's name says what it is.
        target: name of the target that it serves.
        memory_bytes: memory that a model can use there; None where the runtime does not tell.
        driver: driver version, if the runtime tells.
        evidence: `device`, or `simulated` for a stand-in.
    """

    id: str
    name: str
    target: str
    memory_bytes: int | None = None
    driver: str | None = None
    evidence: Evidence = Evidence.DEVICE


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. A temperature of 0 is greedy decoding.

    Attributes:
        temperature: finite, 0 or more.
        top_p: keep the most probable tokens that together have this probability: above 0, 1 keeps
            all.
        top_k: keep the k most probable tokens; 0 keeps all.
        seed: the same seed, bundle, device and request give the same tokens.

    Raises:
        InputError: a number out of its range, or none at all, which runtimes draw nonsense with.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"the temperature is {self.temperature}", fix="give a finite number, 0 or more"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}", fix="give a number above 0 and up to 1")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


@dataclass(frozen=True)
class Request:
    """One prompt to continue.

    Attributes:
        prompt_ids: the whole prompt as token ids; at least one.
        max_new_tokens: at most this many tokens are generated, a stop token included.
        stop_ids: generation ends after the first of these, which is still yielded.
    """

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes:
        id: token id.
        timestamp: `time.perf_counter()` seconds at which the runtime handed it over.
        text: the characters that became complete with this token. Backends leave it empty: the
            core's detokenizer fills it in, since a character may span several tokens.
    """

    id: int
    timestamp: float
    text: str = ""


@dataclass(frozen=True)
class Placement:
    """Where the work really ran, in the runtime's own words.

    Attributes:
        devices: the devices the runtime says it executes on.
        evidence: `device`, or `simulated` with the stand-in named in `devices`.
        proof: what was asked of the runtime, e.g. `EXECUTION_DEVICES of the compiled model`.
        nodes: number of graph nodes on each device, where the runtime tells.
        fallback: heavy operators that run elsewhere than asked, by name; never any unless the
            user allowed it.
    """

    devices: tuple[str, ...]
    evidence: Evidence
    proof: str
    nodes: Mapping[str, int] | None = None
    fallback: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for JSON and for results."""
        return {
            "devices": list(self.devices),
            "proof": self.proof,
            "nodes": dict(self.nodes) if self.nodes is not None else None,
            "fallback": list(self.fallback),
        }


@dataclass(frozen=True)
class LoadOptions:
    """What a user may ask of a backend at load time.

    Attributes:
        context: most tokens, prompt and answer together, that the session must hold.
        properties: runtime settings that override the profile's.
        cache_dir: where compiled kernels and blobs may be kept; None keeps nothing.
        allow_fallback: heavy operators may run elsewhere; the placement then lists them.
    """

    context: int | None = None
    properties: Mapping[str, Property] = field(default_factory=dict)
    cache_dir: Path | None = None
    allow_fallback: bool = False


class Session(ABC):
    """A bundle loaded on a device. Not thread-safe: one caller at a time."""

    @abstractmethod
    def generate(self, request: Request) -> Generator[Token, None, None]:
        """Yield tokens as the runtime makes them.

        Closing the generator early stops the runtime before returning, and leaves the session
        ready for the next request.

        Raises:
            PromptError: the prompt does not fit this session, told before any work is done.
            GenerationFailed: the runtime broke.
        """

    @abstractmethod
    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return teacher-forced logits, float32 [T, V], for T token ids.

        Row t holds the logits for the token after `token_ids[: t + 1]`.
        """

    @abstractmethod
    def placement(self) -> Placement:
        """Return where the work really runs, asked of the runtime itself."""

    def device_peak_memory_bytes(self) -> int | None:
        """Return what the session took of the device's own memory at its peak, in bytes.

        None where the device has none of its own, or the runtime does not tell.
        """
        return None

    @property
    @abstractmethod
    def context(self) -> int:
        """Most tokens, prompt and answer together, that this session can hold."""

    @property
    def prompt_limit(self) -> int:
        """Most tokens of a prompt: less than this where lengths were fixed beforehand."""
        return self.context - 1

    @abstractmethod
    def close(self) -> None:
        """Free the device. Calling it twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(ABC):
    """The adapter to one runtime."""

    name: ClassVar[str]
    """The word on the command line."""
    formats: ClassVar[tuple[str, ...]]
    """Bundle formats that it loads."""
    targets: ClassVar[tuple[Target, ...]]
    """Targets that it serves."""
    simulates: ClassVar[frozenset[str]] = frozenset()
    """Names of the targets for which it has a stand-in, used on explicit request only."""
    slow: ClassVar[frozenset[str]] = frozenset()
    """Names of those targets whose stand-in is slow, to seconds a token: tests ask less of it."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions belong in reports, e.g. `openvino`."""

    @abstractmethod
    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        """Return the devices of *target* on this machine, at least one.

        With *simulate*, return the stand-in instead, and only that.

        Raises:
            TargetUnavailable: runtime, driver or hardware is absent (reason and fix).
        """

    @abstractmethod
    def why_not(self, plan: Plan) -> str | None:
        """Return why *plan* cannot run on this backend, or None if it can. Loads nothing."""

    @abstractmethod
    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        """Load *bundle* on *device*.

        Raises:
            PlacementError: the runtime put the work elsewhere.
            GenerationFailed: the runtime could not load it.
        """


class Progress:
    """Where an exporter tells how far it is. Byte counts are of the bundle being written.

    This one keeps it to itself; others show it.
    """

    def begin(self, total_bytes: int) -> None:
        """The work begins; the bundle is predicted to have this size."""

    def stage(self, title: str) -> None:
        """Begin a stage of the work, named for a person."""

    def written(self, total_bytes: int) -> None:
        """Bytes written so far."""


class Exporter(ABC):
    """Turns a plan into the files of a bundle, in one or more formats."""

    name: ClassVar[str]
    """The word on the command line."""
    formats: ClassVar[tuple[str, ...]]
    """Bundle formats that it writes."""
    resumes: ClassVar[bool] = False
    """Whether `export` can go on from what an interrupted run of the same plan left.

    What it needs for that it keeps in `SCRATCH`; a run that ends in an error while that is there is
    taken up again by the next.
    """

    def requires(self, format: str) -> tuple[str, ...]:
        """Distributions that decide the bytes of this format; the manifest holds their versions."""
        return ()

    @abstractmethod
    def why_not(self, plan: Plan) -> Refusal | None:
        """Return why this exporter cannot carry out *plan*, or None if it can. Loads nothing."""

    @abstractmethod
    def peak_memory_bytes(self, plan: Plan) -> int:
        """Predict the peak anonymous memory of `export`, in bytes, from the plan alone."""

    @abstractmethod
    def export(self, plan: Plan, folder: Path, progress: Progress) -> None:
        """Write the bundle's files, all but the manifest, into *folder*.

        The folder is empty, or as an interrupted run left it if this exporter `resumes`.

        Raises:
            TargetUnavailable: a library that the exporter needs is not installed.
            ExportFailed: anything else; the caller removes *folder*.
        """
