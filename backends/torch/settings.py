"""Settings of a session: the properties of the bundle's profile, overridden by the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.accelerators.base import FEW_ROWS, Accelerator
from qdeploy.backends.torch.kernels.base import Activations
from qdeploy.errors import InputError, did_you_mean
from qdeploy.interface import Device, LoadOptions, Property
from qdeploy.planning.device_memory import CHUNK, PREFILL_CHUNK
from qdeploy.planning.formats import SAFETENSORS
from qdeploy.planning.profile import profiles_of
from qdeploy.system.threads import usable_threads
from qdeploy.targets import Evidence

if TYPE_CHECKING:
    from qdeploy.bundle import Manifest

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""Torch's names of the profile's `graph.activations`."""
HOST = "cpu"
"""Id of the CPU's device."""


@dataclass(frozen=True)
class Settings:
    """Resolved settings of a load.

    Attributes:
        dtype: type of activations and of the cache, by torch's name.
        activations: what linear layers round their inputs to.
        context: most tokens, prompt and answer together.
        prefill_chunk: most tokens of a pass.
        threads: CPU threads that torch computes with.
        rope_scaling: how positions are scaled, with the keys of `config.json`, or None.
        more: the devices that share the layers with *device*, in order.
        few_rows: the property of that name; None if the accelerator decides.
    """

    device: Device
    dtype: str
    activations: Activations
    context: int
    vocabulary: int
    prefill_chunk: int
    threads: int
    rope_scaling: Any
    allow_fallback: bool
    more: tuple[Device, ...] = ()
    few_rows: int | None = None

    @property
    def simulated(self) -> bool:
        return self.device.evidence is Evidence.SIMULATED

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that layers are on, as torch writes them."""
        return tuple(device.id for device in (self.device, *self.more))

    @property
    def names(self) -> tuple[str, ...]:
        """The devices' names."""
        return tuple(device.name for device in (self.device, *self.more))

    @property
    def on_host(self) -> bool:
        """Whether the work runs on the CPU's threads."""
        return self.device.id == HOST


def resolve_settings(
    manifest: Manifest, accelerator: Accelerator, device: Device, options: LoadOptions
) -> Settings:
    """Merge the profile's properties with the user's.

    Raises:
        InputError: a property is unknown or of a wrong type, or the device does not compute in the
            bundle's type.
    """
    graph = manifest.profile.graph
    merged: dict[str, Property] = {**manifest.profile.runtime.properties, **options.properties}
    for name, value in merged.items():
        kind = accelerator.properties.get(name)
        if kind is None:
            raise InputError(
                f"torch's engine has no property {name!r} on {accelerator.target}",
                fix=did_you_mean(name, accelerator.properties),
            )
        if type(value) is not kind or (kind is int and int(value) < 1):
            raise InputError(f"{name} is {value!r}", fix="give a whole number above 0")
    dtype = DTYPES[graph.activations]
    if dtype not in accelerator.dtypes:
        names = dict.fromkeys(each.name for each in (device, *options.devices[1:]))
        raise InputError(
            f"{' with '.join(names)} computes in {' or '.join(accelerator.dtypes)}, and this "
            f"bundle is for {dtype}",
            fix=_profile_for(accelerator),
        )
    longest = manifest.model.context_length
    few = merged.get(FEW_ROWS)
    return Settings(
        device,
        dtype,
        graph.input_activations,
        min(options.context or longest, longest),
        manifest.model.vocab_size,
        int(merged.get(PREFILL_CHUNK, CHUNK)),
        options.threads or _threads(device),
        manifest.plan.get("rope_scaling"),
        options.allow_fallback,
        options.devices[1:],
        None if few is None else int(few),
    )


def _profile_for(accelerator: Accelerator) -> str:
    """What to export with for a device that does not compute in a bundle's type."""
    shipped = [p for p in profiles_of(accelerator.target) if p.format == SAFETENSORS.name]
    fitting = [p.name for p in shipped if DTYPES[p.graph.activations] in accelerator.dtypes]
    if fitting:
        return f"export it with --profile {fitting[0]}"
    known = [name for name, dtype in DTYPES.items() if dtype in accelerator.dtypes]
    return f"export it with a profile whose graph.activations are {' or '.join(known)}"


def _threads(device: Device) -> int:
    """One for each core, on the CPU; beside another device the host has little to compute."""
    return usable_threads() if device.id == HOST else 1
