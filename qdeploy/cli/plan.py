"""`qdeploy plan`, and the text of a plan, which `export --dry-run` prints too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import calibration, device_memory, options, output, parallel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from qdeploy.architectures.task import TaskName
    from qdeploy.calibration.cost import Cost
    from qdeploy.forecast.forecast import Forecast
    from qdeploy.interface import Device, Exporter
    from qdeploy.planning.device_memory import DeviceMemory
    from qdeploy.planning.plan import Plan


@click.command("plan")
@click.argument("model")
@click.option("--target", metavar="T", help="One target, in detail; default: a row for each.")
@click.option("--profile", metavar="P", help="A profile's name or TOML file; needs --target.")
@click.option("--exporter", metavar="E", help="Which exporter to plan for; needs --target.")
@click.option("--backend", metavar="B",
              help="Which runtime the default profile is for; needs --target.")  # fmt: skip
@click.option("--adapter", type=click.Path(path_type=Path), metavar="DIR",
              help="A LoRA adapter (PEFT) to merge into the weights; needs --target.")  # fmt: skip
@options.requantize
@calibration.options
@options.task
@click.option("--context", type=int, metavar="N", help="Longest context, in tokens.")
@click.option("--prompt", type=click.IntRange(min=1), metavar="N",
              help="Prompt length of the forecast, in tokens; default: 512.")  # fmt: skip
@click.option("--device", "device_names", multiple=True, metavar="NAME",
              help="Only this device, e.g. 'A100 80GB'; may be repeated.")  # fmt: skip
@click.option("--split", type=click.IntRange(min=1), metavar="N",
              help="Spread the layers over N devices of one size; needs --target.")  # fmt: skip
@click.option("--engine", type=click.Choice(["vllm"]),
              help="Spread it as this engine does; needs --target, --devices.")  # fmt: skip
@click.option("--devices", metavar="NxM",
              help="Devices of a machine: 8x80GB, or 4xH20; needs --engine.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(min=1, max=parallel.MOST_NODES), default=1,
              metavar="N", help="Machines with so many devices; default: 1.")  # fmt: skip
@parallel.sizes
@click.option("--mindie", type=click.Path(path_type=Path), metavar="FILE",
              help="Write MindIE's server configuration; needs --target ascend.")  # fmt: skip
@options.as_json
def command(
    model: str,
    target: str | None,
    profile: str | None,
    exporter: str | None,
    backend: str | None,
    adapter: Path | None,
    requantize: bool,
    task: TaskName | None,
    context: int | None,
    prompt: int | None,
    device_names: tuple[str, ...],
    split: int | None,
    engine: str | None,
    devices: str | None,
    nodes: int,
    tensor_parallel: int | None,
    pipeline_parallel: int | None,
    data_parallel: int | None,
    expert_parallel: bool | None,
    mindie: Path | None,
    as_json: bool,
    **calibrating: Unpack[calibration.Calibrating],
) -> None:
    """Forecast whether and how fast MODEL runs on each target, or show the plan of one export.

    It reads no weights. Published Qwen3 models need no network: give a hub id (Qwen/Qwen3-8B) or
    its short form (8B). A forecast is the hardware's limit, or the speed that measured runs make
    likely; see docs/planning.md.
    """
    if target is None and (profile or exporter or backend or adapter or requantize or split):
        raise click.UsageError(
            "--profile, --exporter, --backend, --adapter, --requantize and --split need a --target"
        )
    calibration.check(calibrating)
    if target is None and calibration.is_given(calibrating):
        raise click.UsageError("--calibrate and the options of calibration need a --target")
    if mindie and (target is None or engine):
        raise click.UsageError("--mindie needs a --target ascend, and no --engine")
    asked = parallel.wanted(tensor_parallel, pipeline_parallel, data_parallel, expert_parallel)
    if engine and not (target and devices):
        raise click.UsageError("--engine needs a --target and --devices, e.g. --devices 8x80GB")
    if not engine and (devices or nodes > 1 or asked.is_any):
        raise click.UsageError("--devices, --nodes and --...-parallel need an --engine")

    import qdeploy
    from qdeploy import registry
    from qdeploy.checkpoint import preflight
    from qdeploy.checkpoint.hub import describe
    from qdeploy.cli.forecast import show_forecasts
    from qdeploy.forecast.forecast import PROMPT, for_model, of_target
    from qdeploy.forecast.hardware import check_target, named

    only = named(device_names)
    prompt = prompt or PROMPT
    if target is None:
        checkpoint = describe(model, task=task)
        preflight.check(checkpoint)
        targets = list(registry.targets().values())
        rows = for_model(checkpoint, targets, context=context, prompt=prompt, only=only)
        show_forecasts(checkpoint, rows, as_json=as_json)
        return
    registry.target(target)
    check_target(only, target)
    plan = qdeploy.plan(
        model,
        target=target,
        profile=profile,
        exporter=exporter,
        backend=backend,
        context=context,
        adapter=adapter,
        requantize=requantize,
        task=task,
        **calibrating,
    )
    otherwise = "another --target" if engine else "leave --backend out"
    _check_backend(plan, engine or backend, otherwise)
    if engine and devices:
        cluster = parallel.read_cluster(devices, nodes)
        parallel.show(plan, parallel.plan_layouts(plan, cluster, asked), as_json=as_json)
        return
    if mindie:
        from qdeploy.engines.mindie import configure, write

        write(configure(plan, npus=split), mindie)
        click.echo(f"wrote {mindie}: MindIE's server configuration", err=True)
        split = None  # which MindIE does by tensors, and not by layers
    rows = of_target(plan, prompt=prompt, only=only)
    chosen = registry.exporter_for(plan.format, exporter)
    show(plan, chosen, as_json=as_json, forecasts=rows, split=split)


def _check_backend(plan: Plan, name: str | None, otherwise: str) -> None:
    """Check that the backend that was named runs the plan; *otherwise* is the last fix.

    Raises:
        PlanError: it does not; with the shipped profiles of its formats that may be tried.
    """
    from qdeploy import registry
    from qdeploy.errors import PlanError
    from qdeploy.planning.profile import profiles_of

    if name is None:
        return
    backend = registry.backend(name)
    if reason := backend.why_not(plan):
        shipped = (p for p in profiles_of(plan.target.name) if p.format in backend.formats)
        others = ", ".join(p.name for p in shipped if p.name != plan.profile.name)
        raise PlanError(
            f"the backend {name} cannot run it: {reason}",
            where=f"{plan.checkpoint.name}, profile {plan.profile.name}",
            fix=f"--profile with another one: {others}" if others else otherwise,
        )


def show(
    plan: Plan,
    exporter: Exporter,
    *,
    as_json: bool,
    forecasts: Sequence[Forecast] | None = None,
    split: int | None = None,
) -> None:
    """Print a plan: precisions, sizes, memory, the context that fits this device, forecasts.

    Raises:
        InputError: layers of this format, or of so few, are not *split* over devices.
    """
    parts = device_memory.spread(plan, split)
    device = _device(plan)
    peak = exporter.peak_memory_bytes(plan)
    memory = device.memory_bytes if device else None
    fits = device_memory.longest_context(plan, memory, split) if memory else None
    cost = calibration.predicted(plan)
    if as_json:
        described = None
        if device:
            described = {"name": device.name, "memory_bytes": device.memory_bytes}
        output.write_json(
            plan.summary()
            | {
                "exporter": exporter.name,
                "peak_export_memory_bytes": peak,
                "calibration_cost": cost.as_dict() if cost else None,
                "device": described,
                "longest_context": fits,
                "device_memory": [part.as_dict() for part in parts],
            }
            | ({} if forecasts is None else {"forecasts": [f.as_dict() for f in forecasts]})
        )
        return
    console = output.console()
    config = plan.checkpoint.config
    numbers = ("tensors", "parameters", "size")
    table = output.table("stored as", *numbers, right=numbers)
    for precision, row in plan.by_precision().items():
        table.add_row(
            precision, str(row["tensors"]), f"{row['parameters']:,}", output.size(row["bytes"])
        )
    console.print(
        f"{plan.checkpoint.name} ({config.name}, {plan.checkpoint.parameters:,} parameters) "
        f"for {plan.target.name}, profile {plan.profile.name}",
        style="bold",
    )
    console.print(table)
    for line in _lines(plan, peak, device, fits, exporter, parts, cost):
        console.print(line)
    if forecasts:
        from qdeploy.cli.forecast import show_table

        show_table(forecasts, console)


def _lines(
    plan: Plan,
    peak: int,
    device: Device | None,
    fits: int | None,
    exporter: Exporter,
    parts: Sequence[DeviceMemory],
    cost: Cost | None,
) -> list[str]:
    config = plan.checkpoint.config
    if plan.task.generates:
        cache = output.size(plan.kv_bytes_per_token)
        shape = f"{config.num_hidden_layers} layers, {config.num_key_value_heads} kv heads"
        kept = ("key-value cache", f"{cache} a token ({shape}, head_dim {config.head_dim})")
    else:
        kept = ("task", str(plan.task))
    rows: list[tuple[str, Any]] = [
        ("bundle", f"{output.size(plan.bundle_bytes)} predicted"),
        kept,
        ("export memory", f"{output.size(peak)} predicted peak (exporter {exporter.name})"),
        *([("calibration", calibration.line(plan, cost))] if cost else []),
        ("context", f"{plan.context} tokens exported for"),
        *(("device memory", line) for line in device_memory.lines(parts)),
    ]
    if fits is None:
        rows.append(("fits", f"unknown: no {plan.target.name} with known memory here"))
    elif device is not None and device.memory_bytes is not None:
        memory = output.size(device.memory_bytes)
        where = f"{device.name} with {memory}"
        rows.append(("fits", f"{fits} tokens on {where}" if fits else f"not at all on {where}"))
    rows += [("fallback", f"{t.name}: {t.precision}") for t in plan.fallbacks()]
    rows += [("dropped", line) for line in _by_reason(plan.checkpoint.dropped)]
    rows += [("warning", warning) for warning in plan.warnings]
    return [f"{label + ':':17} {text}" for label, text in rows]


def _by_reason(dropped: Mapping[str, str]) -> Iterator[str]:
    """One line for each reason, with how many tensors it drops and the name of the first."""
    names: dict[str, list[str]] = {}
    for name, why in dropped.items():
        names.setdefault(why, []).append(name)
    for why, (first, *rest) in names.items():
        more = f" and {len(rest)} more" if rest else ""
        yield f"{first}{more}: {why}"


def _device(plan: Plan) -> Device | None:
    """Return the device of this machine that the plan would run on, or None."""
    from qdeploy import registry
    from qdeploy.errors import TargetUnavailable

    for backend in registry.backends_for(plan.target, format=plan.format):
        try:
            return backend.devices(plan.target)[0]
        except TargetUnavailable:
            continue
    return None
