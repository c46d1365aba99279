"""Specifications of devices: a table with a source for each number, and this CPU as measured.

A number without a source is None, and forecasts that need it are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import Field, model_validator

from qdeploy import registry
from qdeploy.errors import InputError, did_you_mean
from qdeploy.forecast.share import Arithmetic, arithmetic_of
from qdeploy.storage.toml_file import Strict, build_strict, read_shipped_toml
from qdeploy.system import bandwidth, info
from qdeploy.targets import CPU

THIS_CPU = "this CPU"
NUMBERS = ("memory_bytes", "bytes_per_s", "fp16_flops", "int8_ops", "fp32_flops")
MEASURED = "measured on this machine (qdeploy.system.bandwidth)"


class DeviceSpec(Strict):
    """Memory, bandwidth and rates of one kind of device.

    Attributes:
        targets: names of its targets.
        several: machines link several of them, so tensor parallelism is possible.
        shared: its memory is system memory.
        memory_bytes: size of its memory.
        bytes_per_s: read bandwidth of that memory.
        fp16_flops, int8_ops, fp32_flops: dense operations a second on matrices of float16 or
            bfloat16, int8 and float32.
        lacks: types of rounded inputs, as `Graph.inputs_dtype` has them, that it does not
            multiply; others are not ruled out.
        arithmetic: the narrow types that a CPU multiplies fast; None for other devices.
        sources: the page each number was read from; `all` is the page of the others.
    """

    name: str
    targets: tuple[str, ...] = Field(min_length=1)
    several: bool = False
    shared: bool = False
    memory_bytes: float | None = Field(default=None, gt=0)
    bytes_per_s: float | None = Field(default=None, gt=0)
    fp16_flops: float | None = Field(default=None, gt=0)
    int8_ops: float | None = Field(default=None, gt=0)
    fp32_flops: float | None = Field(default=None, gt=0)
    lacks: tuple[str, ...] = ()
    arithmetic: Arithmetic | None = None
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> DeviceSpec:
        for number in NUMBERS:
            if getattr(self, number) is not None and self.source_of(number) is None:
                raise ValueError(f"{self.name}: {number} has no source")
        return self

    def source_of(self, number: str) -> str | None:
        return self.sources.get(number) or self.sources.get("all")

    @property
    def operations_per_s(self) -> float | None:
        """Operations a second of prefill, where activations have 16 bits whatever weights have.

        Where that rate is not known, int8's stands in, which is no lower.
        """
        return self.fp16_flops or self.fp32_flops or self.int8_ops


def table() -> tuple[DeviceSpec, ...]:
    """The devices that ship with qdeploy, in the file's order, then those of targets' rows.

    Raises:
        InputError: a target's row has a device that does not hold.
    """
    return (*_shipped(), *_of_targets())


@cache
def _shipped() -> tuple[DeviceSpec, ...]:
    return tuple(
        map(DeviceSpec.model_validate, read_shipped_toml("forecast/hardware.toml")["device"])
    )


def _of_targets() -> list[DeviceSpec]:
    return [
        build_strict(
            DeviceSpec, {**row, "targets": (target.name,)}, where=f"hardware of {target.name}"
        )
        for target in registry.targets().values()
        for row in target.hardware
    ]


def this_cpu() -> DeviceSpec:
    """The processor of this machine, measured at the first call: that takes a second or two."""
    return _measured_cpu().model_copy(update={"targets": _targets_here()})


@cache
def _measured_cpu() -> DeviceSpec:
    return DeviceSpec(
        name=THIS_CPU,
        targets=(CPU.name,),
        shared=True,
        memory_bytes=info.usable_memory_bytes(),
        bytes_per_s=bandwidth.read_bytes_per_s(passes=3),
        fp32_flops=bandwidth.float32_flops_per_s(passes=3),
        arithmetic=arithmetic_of(info.cpu_flags()),
        sources={"all": MEASURED},
    )


def _targets_here() -> tuple[str, ...]:
    """Names of the targets that this CPU is: those of its vendor, and those of any CPU."""
    return tuple(
        target.name
        for target in registry.targets().values()
        if target.kind == "cpu" and not info.other_cpu(target.cpu_vendor)
    )


def for_target(target: str) -> list[DeviceSpec]:
    """Devices of a target; this CPU is measured only where it is among them."""
    here = [this_cpu()] if target in _targets_here() else []
    return [*here, *(d for d in table() if target in d.targets)]


def named(names: Sequence[str]) -> list[str]:
    """Check names of devices, upper and lower case alike, and return them as the table has them.

    Raises:
        InputError: there is no such device.
    """
    known = {name.lower(): name for name in [THIS_CPU, *(d.name for d in table())]}
    for name in names:
        if name.lower() not in known:
            raise InputError(f"unknown device {name!r}", fix=did_you_mean(name, known.values()))
    return [known[name.lower()] for name in names]


def check_target(names: Sequence[str], target: str) -> None:
    """Check that devices, by the names that `named` returns, belong to a target.

    Raises:
        InputError: one does not.
    """
    targets = {THIS_CPU: _targets_here()} | {d.name: d.targets for d in table()}
    for name in names:
        if target not in targets[name]:
            of_it = " or ".join(targets[name])
            raise InputError(f"{name!r} is no device of {target}", fix=f"--target {of_it}")
