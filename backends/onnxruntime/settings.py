"""Settings of a session: the properties of the bundle's profile, overridden by the user's.

The name of a property decides where it goes: to the loop (`loop`), to the session (its options, and
configuration entries whose names begin with `session.`), or to the execution provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qdeploy.backends.onnxruntime.providers import Provider
from qdeploy.errors import InputError, did_you_mean
from qdeploy.interface import Device, LoadOptions, Property
from qdeploy.planning.formats import ONNX
from qdeploy.planning.profile import Graph
from qdeploy.system.threads import usable_threads
from qdeploy.targets import Evidence

if TYPE_CHECKING:
    from qdeploy.bundle import Manifest

THREADS = "intra_op_num_threads"
Loop = Literal["genai", "own"]
LOOP = "loop"
SESSION: Mapping[str, type] = {
    THREADS: int, "inter_op_num_threads": int,
    "enable_cpu_mem_arena": bool, "enable_mem_pattern": bool,
}  # fmt: skip
ENTRIES: Mapping[str, type] = {
    "session.intra_op.allow_spinning": bool, "session.inter_op.allow_spinning": bool,
    "session.intra_op.spin_duration_us": int, "session.inter_op.spin_duration_us": int,
    "session.intra_op_thread_affinities": str, "session.force_spinning_stop": bool,
    "session.dynamic_block_base": int, "session.set_denormal_as_zero": bool,
    "session.use_deterministic_compute": bool,
    "session.use_device_allocator_for_initializers": bool,
}  # fmt: skip
"""Configuration entries for threads, arithmetic and memory
(onnxruntime_session_options_config_keys.h, 1.32). The runtime silently ignores unknown names."""
REFUSED = {
    "session.disable_prepacking": "a token takes fifty times as long with it",
    "session.record_ep_graph_assignment_info": "the proof of placement needs it",
}


@dataclass(frozen=True)
class Settings:
    """Resolved settings of a load.

    Attributes:
        provider: the row of the device's provider; for a simulated device, the simulating provider.
        device: the chosen device.
        session: options of the session, and its configuration entries.
        options: options of the execution provider.
        loop: the generation loop.
        context: most tokens, prompt and answer together.
        concurrency: requests served at once. Above 1, qdeploy's own loop batches them.
    """

    provider: Provider
    device: Device
    format: str
    graph: Graph
    session: Mapping[str, Property]
    options: Mapping[str, str]
    loop: Loop
    context: int
    vocabulary: int
    allow_fallback: bool
    concurrency: int = 1

    @property
    def simulated(self) -> bool:
        return self.device.evidence is Evidence.SIMULATED

    @property
    def provider_options(self) -> dict[str, str]:
        """The options, with the number of the chosen device if the provider has such an option."""
        chosen = dict(self.options)
        if "device_id" in self.provider.options and self.provider.plugin is None:
            chosen.setdefault("device_id", str(self.number))
        return chosen

    @property
    def threads(self) -> int:
        """CPU threads of each session."""
        return int(self.session[THREADS])

    @property
    def number(self) -> int:
        """The device's number, from the end of its id."""
        number = self.device.id.rpartition(":")[2]
        return int(number) if number.isdigit() else 0


def resolve_settings(
    manifest: Manifest, provider: Provider, device: Device, options: LoadOptions
) -> Settings:
    """Merge the profile's properties with the user's and split them.

    Raises:
        InputError: a property is unknown, refused or of a wrong type, or the provider does not
            support the bundle.
    """
    graph, format_ = manifest.profile.graph, manifest.format
    _check_form(provider, manifest)
    merged = {**manifest.profile.runtime.properties, **options.properties}
    asked = merged.pop(LOOP, None)
    loop = _loop(asked, provider, device, format_, graph)
    batches = loop == "genai" and provider.genai == "cpu" and asked is None
    concurrency = options.concurrency if batches else 1
    known = {**SESSION, **ENTRIES, **provider.options}
    for name, value in merged.items():
        if name in REFUSED:
            raise InputError(f"{name} cannot be set: {REFUSED[name]}", fix="leave it out")
        if name not in known:
            raise InputError(
                f"neither the session nor {provider.name} has an option {name!r}",
                fix=did_you_mean(name, [LOOP, *known]),
            )
        _check_type(name, value, known[name])
    threads = _threads(merged, options)
    session = {n: v for n, v in merged.items() if n not in provider.options}
    session[THREADS] = threads
    rest = _with_threads(
        provider, {n: v for n, v in merged.items() if n in provider.options}, threads
    )
    longest = manifest.model.context_length
    return Settings(
        provider, device, format_, graph, session, {n: text_of(v) for n, v in rest.items()}, loop,
        min(options.context or longest, longest), manifest.model.vocab_size, options.allow_fallback,
        concurrency,
    )  # fmt: skip


def _check_form(provider: Provider, manifest: Manifest) -> None:
    format_, graph = manifest.format, manifest.profile.graph
    which = f"--profile {provider.profile}" if provider.profile else "--backend onnxruntime"
    fix = f"export it for that target: --target {provider.target.name} {which}"
    if format_ not in provider.formats:
        known = " and ".join(provider.formats)
        raise InputError(
            f"{provider.target.name} takes {known} bundles, and this is {format_}", fix=fix
        )
    wanted = provider.attention
    if format_ == ONNX.name and wanted and graph.attention != wanted:
        raise InputError(
            f"{provider.name} runs graphs with {wanted!r} attention, and this bundle has "
            f"{graph.attention!r}",
            fix=fix,
        )
    stored = manifest.plan.get("by_precision", {})
    kinds = provider.weights
    if kinds and (other := [p for p in stored if p.split()[0] not in kinds]):
        known = " and ".join(kinds)
        raise InputError(
            f"{provider.name} takes weights in {known}, and this bundle has {', '.join(other)}",
            fix=fix,
        )


def _loop(
    asked: Property | None, provider: Provider, device: Device, format_: str, graph: Graph
) -> Loop:
    """Return the runtime's own loop if it supports the provider and the bundle."""
    possible = provider.genai is not None and format_ == ONNX.name and graph.attention == "gqa"
    if provider.plugin and ":" in device.id:
        possible = False  # it passes all devices to a plugin that accepts one
    if asked is None:
        return "genai" if possible else "own"
    if asked not in ("genai", "own"):
        raise InputError(f"{LOOP} is {asked!r}", fix="use genai or own")
    if asked == "genai" and not possible:
        raise InputError(
            f"onnxruntime-genai does not run this bundle on {provider.name}",
            fix=f'leave {LOOP} out, or set it to "own"',
        )
    return "genai" if asked == "genai" else "own"


def _threads(merged: Mapping[str, Property], options: LoadOptions) -> int:
    """Return the user's number, the profile's, or one thread for each usable physical core."""
    asked = merged.get(THREADS) if options.threads is None else options.threads
    return usable_threads() if asked is None else int(asked)


def _with_threads(
    provider: Provider, options: Mapping[str, Property], threads: int
) -> dict[str, Property]:
    """Add the number of threads for OpenVINO's CPU plugin, which has its own threads."""
    if provider.plugin is None or provider.plugin.metadata.get("ov_device") != "CPU":
        return dict(options)
    config = json.dumps({"CPU": {"INFERENCE_NUM_THREADS": str(threads)}})
    return {"load_config": config, **options}


def _check_type(name: str, value: Property, kind: type) -> None:
    if type(value) is not kind:
        raise InputError(f"{name} is {value!r}", fix=f"give it as {kind.__name__}")


def text_of(value: Property) -> str:
    """Return an option's value as providers expect it: a string, with 1 or 0 for a boolean."""
    return str(int(value)) if isinstance(value, bool) else str(value)
