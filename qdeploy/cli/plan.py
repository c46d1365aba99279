"""`qdeploy plan`, and the picture of a plan that `export --dry-run` prints too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import output

if TYPE_CHECKING:
    from qdeploy.interface import Device, Exporter
    from qdeploy.plan import Plan


@click.command("plan")
@click.argument("model")
@click.option("--target", required=True, metavar="T", help="What to deploy to, e.g. intel-cpu.")
@click.option("--profile", metavar="P", help="A profile's name or TOML file; default: int4.")
@click.option("--exporter", metavar="E", help="Which exporter would do it.")
@click.option("--context", type=int, metavar="N", help="Longest context, in tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str,
    target: str,
    profile: str | None,
    exporter: str | None,
    context: int | None,
    as_json: bool,
) -> None:
    """Show what exporting MODEL would make, from its config and headers alone."""
    from qdeploy.export import prepare

    plan, chosen = prepare(
        model,
        target,
        profile_name=profile,
        exporter_name=exporter,
        context=context,
    )
    show(plan, chosen, as_json=as_json)


def show(plan: Plan, exporter: Exporter, *, as_json: bool) -> None:
    """Print a plan: precisions, sizes, memory, and the context that fits the device here."""
    device = _device(plan)
    peak = exporter.peak_memory_bytes(plan)
    fits = plan.longest_context(device.memory_bytes) if device and device.memory_bytes else None
    if as_json:
        described = None
        if device:
            described = {"name": device.name, "memory_bytes": device.memory_bytes}
        output.write_json(
            plan.summary()
            | {
                "exporter": exporter.name,
                "peak_export_memory_bytes": peak,
                "device": described,
                "longest_context": fits,
            }
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
    for line in _lines(plan, peak, device, fits, exporter):
        console.print(line)


def _lines(
    plan: Plan, peak: int, device: Device | None, fits: int | None, exporter: Exporter
) -> list[str]:
    config = plan.checkpoint.config
    cache = output.size(plan.kv_bytes_per_token)
    shape = f"{config.num_hidden_layers} layers, {config.num_key_value_heads} kv heads"
    rows: list[tuple[str, Any]] = [
        ("bundle", f"{output.size(plan.bundle_bytes)} predicted"),
        ("key-value cache", f"{cache} a token ({shape}, head_dim {config.head_dim})"),
        ("export memory", f"{output.size(peak)} predicted peak (exporter {exporter.name})"),
        ("context", f"{plan.context} tokens exported for"),
    ]
    if fits is None:
        rows.append(("fits", f"unknown: no {plan.target.name} with known memory here"))
    elif device is not None and device.memory_bytes is not None:
        memory = output.size(device.memory_bytes)
        where = f"{device.name} with {memory}"
        rows.append(("fits", f"{fits} tokens on {where}" if fits else f"not at all on {where}"))
    rows += [("fallback", f"{t.name}: {t.precision}") for t in plan.fallbacks()]
    return [f"{label + ':':17} {text}" for label, text in rows]


def _device(plan: Plan) -> Device | None:
    """The device this plan would run on here, if there is one."""
    from qdeploy import registry
    from qdeploy.errors import TargetUnavailable

    for backend in registry.backends_for(plan.target, format=plan.format):
        try:
            return backend.devices(plan.target)[0]
        except TargetUnavailable:
            continue
    return None
