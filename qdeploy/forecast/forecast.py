"""Memory and speed of a model on a device, forecast from its plan and the device's specification.

Memory is the weights, the key-value cache of the whole context, and the activations of a prompt.
If one device is too small and several are linked, tensor parallelism is assumed: weights and cache
are split evenly by whole key-value heads, each device holds all activations, and communication
takes no time. A forecast is therefore the limit of the hardware. Where the share that runs reach
was measured (`share`), it is the expected speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from qdeploy import registry
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.errors import PlanError, QdeployError
from qdeploy.forecast import hardware, roofline
from qdeploy.forecast.hardware import DeviceSpec
from qdeploy.forecast.roofline import Bound, Roof
from qdeploy.forecast.share import MEASURED, ROOF, arithmetic_of, share_of
from qdeploy.planning.context import check_context
from qdeploy.planning.formats import SAFETENSORS
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import (
    KVCache,
    Profile,
    Weights,
    default_profile,
    load_profile,
    profile_names,
)
from qdeploy.quantization.precision import Precision
from qdeploy.system import info
from qdeploy.targets import Target

PROMPT = 512
"""Prompt tokens that speeds are forecast for, or the context where that is shorter."""
EVIDENCE = "predicted"


@dataclass(frozen=True)
class Forecast:
    """The forecast of a model on a device. None is an unknown, and *reason* explains it.

    Attributes:
        device: None if no device of the target is in the table.
        profile: None if the target has no profile; sizes are then those of int4 g128.
        weight_bytes, kv_bytes, activation_bytes, needed_bytes: the last is their sum.
        export_peak_bytes: of the export's own process, on any machine.
        fits: on one device, or on several where those are linked.
        devices: the smallest number that holds the model.
        prefill_tokens_per_s, decode_tokens_per_s: at *prompt* tokens, and after them; a model that
            embeds or reranks has no decode.
        bound: the resource that limits decode.
        speeds: `expected` if the share of the specification that runs reach was measured, and
            `limit` otherwise. Do not compare one with the other. *share* names the measurement.
    """

    target: str
    device: str | None
    profile: str | None
    precision: str | None
    context: int
    prompt: int
    weight_bytes: int | None = None
    kv_bytes: int | None = None
    activation_bytes: int | None = None
    needed_bytes: int | None = None
    export_peak_bytes: int | None = None
    memory_bytes: float | None = None
    fits: bool | None = None
    devices: int | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    bound: Bound | None = None
    speeds: Literal["limit", "expected"] | None = None
    share: str | None = None
    reason: str | None = None
    evidence: str = EVIDENCE

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def resolve_context(checkpoint: Checkpoint, context: int | None) -> int:
    """The context to plan for: the model's own where none is given.

    Raises:
        PlanError: longer than the model takes.
    """
    longest = checkpoint.config.longest_context
    check_context(context, longest, taker=checkpoint.name)
    return context or min(longest, checkpoint.config.max_position_embeddings)


def default_plan(checkpoint: Checkpoint, target: Target, context: int) -> tuple[Plan, bool]:
    """The plan with the target's default profile, or int4 g128 where there is no profile.

    The second value is True if the target has a profile.

    Raises:
        PlanError: checkpoint, profile and target do not go together.
    """
    has_profile = any(load_profile(name).target == target.name for name in profile_names())
    runnable = registry.default_formats(target)
    chosen = default_profile(target.name, runnable) if has_profile else _size_profile(target)
    row = registry.format_of(chosen)
    return make_plan(checkpoint, chosen, target, format_row=row, context=context), has_profile


def _size_profile(target: Target) -> Profile:
    return Profile(
        name="int4-g128",
        schema=1,
        target=target.name,
        format=SAFETENSORS.name,
        why="What most runtimes take: for sizes only, until there is a profile.",
        weights=Weights(linear=Precision(dtype="int4", group_size=128)),
        kv_cache=KVCache(dtype="fp16"),
    )


def for_model(
    checkpoint: Checkpoint,
    targets: Iterable[Target],
    *,
    context: int | None = None,
    prompt: int = PROMPT,
    only: Iterable[str] = (),
) -> list[Forecast]:
    """Return a row for each device of each target, and one row for a target without known devices.

    *only* names devices to keep, as `devices.named` returns them; none keeps all.

    Raises:
        PlanError: the model does not take this context.
    """
    tokens, kept = resolve_context(checkpoint, context), set(only)
    rows = []
    for target in targets:
        specs: list[DeviceSpec | None] = [*_devices(target, kept)]
        if not specs and not kept:
            specs = [None]
        if not specs:
            continue
        try:
            made, has_profile = default_plan(checkpoint, target, tokens)
        except PlanError as error:
            rows += [_cannot(target, spec, tokens, prompt, error.what) for spec in specs]
            continue
        rows += [of_plan(made, spec, prompt=prompt, has_profile=has_profile) for spec in specs]
    return rows


def of_target(made: Plan, *, prompt: int = PROMPT, only: Iterable[str] = ()) -> list[Forecast]:
    """Return a row for each device of the plan's target."""
    return [of_plan(made, spec, prompt=prompt) for spec in _devices(made.target, set(only))]


def _devices(target: Target, kept: set[str]) -> list[DeviceSpec]:
    if kept and hardware.THIS_CPU not in kept:  # do not measure this CPU
        return [d for d in hardware.table() if target.name in d.targets and d.name in kept]
    return [d for d in hardware.for_target(target.name) if not kept or d.name in kept]


def of_plan(
    made: Plan, spec: DeviceSpec | None, *, prompt: int = PROMPT, has_profile: bool = True
) -> Forecast:
    """Forecast one plan on one kind of device."""
    prompt = max(1, min(prompt, made.context))
    sizes: dict[str, Any] = {
        "weight_bytes": made.weight_bytes,
        "kv_bytes": made.context * made.kv_bytes_per_token,
        "activation_bytes": roofline.activation_bytes(made, prompt),
    }
    row: dict[str, Any] = {
        "target": made.target.name,
        "device": spec.name if spec else None,
        "profile": made.profile.name if has_profile else None,
        "precision": made.linear_label,
        "context": made.context,
        "prompt": prompt,
        **sizes,
        "needed_bytes": sum(sizes.values()),
        "export_peak_bytes": _export_peak(made) if has_profile else None,
    }
    if spec is None:
        return Forecast(**row, reason="no device of this target is in the table")
    return Forecast(**row, **_on(made, spec, row))


def _on(made: Plan, spec: DeviceSpec, row: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"memory_bytes": spec.memory_bytes}
    inputs = made.profile.graph.inputs_dtype
    if inputs in spec.lacks:
        return known | {"reason": f"it does not multiply inputs in {inputs}"}
    if spec.memory_bytes is None:
        return known | {"reason": "its memory is not published"}
    split = row["weight_bytes"] + row["kv_bytes"]
    count = _smallest_number(made, spec, split, row["activation_bytes"])
    if count is None:
        return known | {"fits": False, "reason": _too_large(made, spec, row["needed_bytes"])}
    known |= {"fits": True, "devices": count}
    if spec.bytes_per_s is None:
        return known | {"reason": "its bandwidth is not published"}
    share = share_of(_backend(made), spec.arithmetic)
    rate = spec.operations_per_s
    roof = Roof(
        count * spec.bytes_per_s * share.memory,
        count * rate * share.compute if rate else None,
    )
    if made.task.generates:
        seconds, bound = roof.seconds(roofline.decode(made, row["prompt"]))
        known |= {"decode_tokens_per_s": 1 / seconds, "bound": bound}
    known |= {"speeds": "limit" if share is ROOF else "expected", "share": share.source}
    if rate is None:
        return known | {"reason": "its rate of operations is not published"}
    if not (spec.fp16_flops or spec.fp32_flops):
        known |= {"reason": "prefill by the rate of int8: that of 16-bit floats is not published"}
    elif share is ROOF and not spec.fp16_flops:
        known |= {"reason": "prefill by the rate of float32, narrower types may be faster"}
    seconds, _ = roof.seconds(roofline.prefill(made, row["prompt"]))
    return known | {"prefill_tokens_per_s": row["prompt"] / seconds}


def _smallest_number(made: Plan, spec: DeviceSpec, split: int, each: int) -> int | None:
    """Return how many devices hold *split* bytes evenly and *each* bytes per device, or None."""
    heads = made.checkpoint.config.num_key_value_heads
    counts = [n for n in range(1, heads + 1) if heads % n == 0] if spec.several else [1]
    memory = spec.memory_bytes or 0
    return next((n for n in counts if split / n + each <= memory), None)


def _too_large(made: Plan, spec: DeviceSpec, needed: int) -> str:
    most = made.checkpoint.config.num_key_value_heads if spec.several else 1
    if most > 1:
        return f"needs more than {most} of them"
    return f"needs {needed / 1e9:.4g} GB; one holds {(spec.memory_bytes or 0) / 1e9:.4g} GB"


def _backend(made: Plan) -> str:
    """Return the name of the default backend for the plan, or an empty string."""
    serving = registry.backends_for(made.target, format=made.format)
    return serving[0].name if serving else ""


def _export_peak(made: Plan) -> int | None:
    """Return the peak memory of the default exporter, or None if no exporter can do it."""
    try:
        exporter = registry.exporter_for(made.format)
    except QdeployError:
        return None
    return None if exporter.why_not(made) else exporter.peak_memory_bytes(made)


def _cannot(
    target: Target, spec: DeviceSpec | None, context: int, prompt: int, why: str
) -> Forecast:
    device = spec.name if spec else None
    return Forecast(target.name, device, None, None, context, prompt, reason=why)


def decode_here(
    planned: Mapping[str, Any], backend: str, cached: int, bytes_per_s: float | None
) -> float | None:
    """Return the expected decode speed on this CPU in tokens a second, or None.

    Args:
        planned: the plan's summary, as a bundle's manifest has it.
        backend: what runs the bundle.
        cached: tokens in the cache.
        bytes_per_s: how fast memory was read, for the same results.
    """
    share = MEASURED.get((backend, arithmetic_of(info.cpu_flags())))
    weights = planned.get("bytes_per_token")
    if share is None or weights is None or bytes_per_s is None:
        return None
    read = int(weights) + cached * int(planned["kv_bytes_per_token"])
    return share.memory * bytes_per_s / read
