"""What a result is about, and where it was measured: artifact, environment, machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from qdeploy.storage.toml_file import Strict
from qdeploy.targets import Evidence

Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Bytes = Annotated[int, Field(gt=0)]


class Machine(Strict):
    """The machine that the results were measured on.

    Attributes:
        name: chosen by the owner; by default the host name.
        system: operating system and architecture, e.g. `Linux 6.1 x86_64`.
        cores: CPU cores that the process may use.
        power: power source; None if the system does not report it.
        bandwidth_bytes_per_s: memory read bandwidth of all cores together; None if not measured.
    """

    name: str
    system: str
    cpu: str
    cores: int
    memory_bytes: Bytes | None = None
    power: Literal["mains", "battery"] | None = None
    bandwidth_bytes_per_s: Positive | None = None


class Artifact(Strict):
    """The bundle that was measured, identified by its content.

    Attributes:
        checkpoint_digest: sha256 of the checkpoint; equal digests mean the same model.
        precision: of the linear weights, in the short form: `int4 asym g128`.
        bundle_digest: sha256 of the bundle.
        bytes_per_token: bytes of weights read to decode one token, as planned. A mixture-of-experts
            model counts the top-k experts only.
        calibrated: whether the integer codes were chosen with a text, not from the weights alone.
    """

    model: str
    checkpoint_digest: str
    parameters: int
    profile: str
    precision: str
    format: str
    exporter: str
    bundle_digest: str
    bundle_bytes: int
    bytes_per_token: int | None = None
    calibrated: bool = False

    @property
    def weights(self) -> str:
        """The precision of the linear weights, and whether they are calibrated."""
        return f"{self.precision} (calibrated)" if self.calibrated else self.precision


class Environment(Strict):
    """The hardware and software that the bundle ran on, with the evidence for it.

    Attributes:
        device: product name; the name of a simulated device says that it is simulated.
        evidence: how it is known that the bundle ran on this target.
        placement: devices, proof, nodes and fallbacks, as `run --json` prints them.
        versions: versions of the runtimes, by distribution.
        properties: settings passed to the runtime, the number of threads included: those of the
            profile, and the environment variables that runtimes read thread settings from.
    """

    target: str
    backend: str
    device: str
    evidence: Evidence
    driver: str | None = None
    placement: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    properties: dict[str, str | int | float | bool] = Field(default_factory=dict)
