"""`qdeploy plan --engine vllm`: a model spread over devices and machines, as text and as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qdeploy.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from qdeploy.planning.layouts import Wanted
    from qdeploy.planning.parallel import Cluster, Layout
    from qdeploy.planning.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])
DEVICES = re.compile(r"(?P<count>[1-9]\d{0,3})x(?P<what>\S.*)")
MEMORY = re.compile(r"(?P<number>\d{1,6}(\.\d{1,3})?) ?(?P<unit>GB|GiB)", re.IGNORECASE)
UNITS = {"gb": 10**9, "gib": 2**30}
MOST_NODES = 1024
SHOWN = 6
"""Most layouts in the text besides the one to take; JSON has all."""


def sizes(command: F) -> F:
    """The options that set sizes; `wanted` reads them."""
    positive = click.IntRange(min=1, max=MOST_NODES)
    for add in (
        click.option("--expert-parallel/--no-expert-parallel", "expert_parallel", default=None,
                     help="Whether each rank has whole experts, or a part of all of them."),
        click.option("--data-parallel", type=positive, metavar="N",
                     help="Replicas of the attention, each with requests of its own."),
        click.option("--pipeline-parallel", type=positive, metavar="N",
                     help="Stages, each with some layers."),
        click.option("--tensor-parallel", type=positive, metavar="N",
                     help="Devices that share each layer."),
    ):  # fmt: skip
        command = add(command)
    return command


def wanted(
    tensor_parallel: int | None,
    pipeline_parallel: int | None,
    data_parallel: int | None,
    expert_parallel: bool | None,
) -> Wanted:
    """What the options of `sizes` ask for."""
    from qdeploy.planning.layouts import Wanted

    return Wanted(tensor_parallel, pipeline_parallel, data_parallel, expert_parallel)


def read_cluster(devices: str, nodes: int) -> Cluster:
    """The cluster that `--devices 8x80GB` or `4xH20`, on each of *nodes* machines, stands for.

    Raises:
        InputError: it is neither, or no such device or its memory is known.
    """
    from qdeploy.errors import InputError
    from qdeploy.forecast.hardware import named, table
    from qdeploy.planning.parallel import Cluster

    found = DEVICES.fullmatch(devices)
    if found is None:
        raise InputError(
            f"--devices {devices!r} is no number of devices",
            fix="a number and the memory of each, 8x80GB, or the name of a device, 4xH20",
        )
    count, what = int(found["count"]), found["what"]
    if memory := MEMORY.fullmatch(what):
        size = round(float(memory["number"]) * UNITS[memory["unit"].lower()])
        return Cluster(size, count, nodes, what)
    [name] = named([what])
    known = {spec.name: spec.memory_bytes for spec in table()}.get(name)
    if known is None:
        raise InputError(
            f"the memory of {name!r} is not known", fix=f"say it: --devices {count}x80GB"
        )
    return Cluster(round(known), count, nodes, name)


def plan_layouts(plan: Plan, cluster: Cluster, asked: Wanted) -> list[Layout]:
    """The layout to take, and after it the others that fit.

    Raises:
        InputError: vLLM does not load bundles of this format, or the architecture is unknown.
        PlanError, OutOfMemory: no layout works, or none fits.
    """
    from qdeploy.planning.device_memory import of_plan
    from qdeploy.planning.layouts import choose, layouts
    from qdeploy.planning.parallel import Spreader

    spreader = Spreader(of_plan(plan), plan.context)
    best = choose(spreader, cluster, asked)
    others = (layout for layout in layouts(spreader, cluster, asked) if layout.fits)
    return [best, *(layout for layout in others if layout.sizes != best.sizes)]


def show(plan: Plan, found: Sequence[Layout], *, as_json: bool) -> None:
    """Print layouts of a plan: what each rank of the first one takes, and the others in short."""
    if as_json:
        described = [layout.as_dict() for layout in found]
        output.write_json(plan.summary() | {"engine": "vllm", "layouts": described})
        return
    best, *others = found
    console = output.console()
    console.print(
        f"{plan.checkpoint.name} in {plan.linear_label} by vLLM on {best.cluster}: {best.sizes}",
        style="bold",
    )
    console.print(_stages(best))
    for label, text in _lines(best):
        console.print(f"{label + ':':17} {text}")
    if others:
        console.print(_others(others[:SHOWN]))


def _stages(layout: Layout) -> Table:
    numbers = ("ranks", "weights", "a pass", "cache", "tokens of cache")
    table = output.table("layers", *numbers, right=numbers)
    each = layout.sizes.ranks // layout.sizes.pipeline
    for stage in layout.stages:
        table.add_row(
            f"{stage.first} to {stage.last}",
            str(each),
            output.size(stage.weights),
            output.size(stage.activations),
            output.size(stage.room),
            f"{stage.cache_tokens:,}",
        )
    return table


def _lines(layout: Layout) -> list[tuple[str, str]]:
    cluster, config = layout.cluster, layout.sizes
    heads = f"{layout.kv_heads} on each rank"
    heads += f", each on {layout.repeated} ranks" if layout.repeated > 1 else ""
    usable = f"{output.size(cluster.usable_bytes)} of {output.size(cluster.memory_bytes)}"
    replicas = f", on {config.data} replicas together" if config.data > 1 else ""
    return [
        ("planned for", f"{usable} of each device"),
        ("kv heads", heads),
        ("a pass", f"{cluster.pass_tokens} tokens (--max-num-batched-tokens)"),
        ("requests", f"{layout.concurrency} of {layout.context} tokens at once{replicas}"),
        ("evidence", "predicted: nothing was run"),
    ]


def _others(layouts: Sequence[Layout]) -> Table:
    from qdeploy.planning.layouts import options

    numbers = ("most weights on a rank", "tokens of cache", "requests at once")
    table = output.table("others that fit", *numbers, "options", right=numbers)
    for layout in layouts:
        table.add_row(
            str(layout.sizes),
            output.size(max(stage.weights for stage in layout.stages)),
            f"{layout.cache_tokens * layout.sizes.data:,}",
            str(layout.concurrency),
            options(layout.sizes),
        )
    return table
