"""The options of commands that run a bundle on several machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qdeploy.cli import parallel

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.engines.vllm.spread import Spread
    from qdeploy.interface import Property
    from qdeploy.planning.layouts import Wanted
    from qdeploy.planning.parallel import Cluster

F = TypeVar("F", bound=Callable[..., Any])
BACKEND = "vllm"
GROUP = (
    click.option("--nodes", metavar="HOST,HOST",
                 help="Spread it over these machines, by vLLM; the first is this one."),
    click.option("--nodes-by", type=click.Choice(["plain", "ray"]), default="plain",
                 show_default=True, help="vLLM's own way between machines, or Ray."),
    click.option("--interface", metavar="NAME",
                 help="The network interface that machines talk over, e.g. eth0."),
    click.option("--node-devices", metavar="NxM",
                 help="Devices of each: 8x80GB, or 8xH20; default: as on this one."),
    click.option("--ssh", is_flag=True, help="Start the processes on the others over ssh."),
    click.option("--print-commands", is_flag=True,
                 help="Only print what each machine has to run."),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the options ask for.

    Attributes:
        only_print: to print the commands instead of starting them.
    """

    nodes: str
    way: str
    interface: str | None
    devices: str | None
    ssh: bool
    only_print: bool
    sizes: Wanted


def options(command: F) -> F:
    """Add the options; the command gets `spread`, an `Asked`, or None without `--nodes`."""

    @wraps(command)
    def inner(
        *,
        nodes: str | None,
        nodes_by: str,
        interface: str | None,
        node_devices: str | None,
        ssh: bool,
        print_commands: bool,
        tensor_parallel: int | None,
        pipeline_parallel: int | None,
        data_parallel: int | None,
        expert_parallel: bool | None,
        **others: Any,
    ) -> Any:
        sizes = parallel.wanted(tensor_parallel, pipeline_parallel, data_parallel, expert_parallel)
        if nodes is None:
            if interface or node_devices or ssh or print_commands or sizes.is_any:
                raise click.UsageError(
                    "--interface, --node-devices, --ssh, --print-commands and --...-parallel "
                    "need --nodes"
                )
            return command(**others, spread=None)
        asked = Asked(nodes, nodes_by, interface, node_devices, ssh, print_commands, sizes)
        return command(**others, spread=asked)

    wrapped: Any = inner
    for add in (parallel.sizes, *reversed(GROUP)):
        wrapped = add(wrapped)
    return wrapped  # type: ignore[no-any-return]


def plan(asked: Asked, bundle: Bundle, target: str, *, context: int | None) -> Spread:
    """How the bundle is spread over the machines that were asked for.

    Raises:
        InputError: machines or devices are none, or vLLM does not load the bundle.
        PlanError, OutOfMemory: no sizes work, or none fits.
        TargetUnavailable: no `--node-devices`, and this machine has none of the target's.
    """
    from qdeploy.engines.vllm.accelerators import accelerator_of
    from qdeploy.engines.vllm.nodes import read_nodes
    from qdeploy.serving.nodes import spread

    nodes = read_nodes(asked.nodes, asked.interface)
    on_cpus = accelerator_of(target).is_simulated
    cluster = None if on_cpus else _cluster(asked, target, len(nodes))
    found = spread(bundle, nodes, asked.sizes, cluster=cluster, way=asked.way, context=context)
    return replace(found, ssh=asked.ssh)


def _cluster(asked: Asked, target: str, nodes: int) -> Cluster:
    """The devices of all machines: those that are named, or as many as are here on each."""
    if asked.devices:
        return parallel.read_cluster(asked.devices, nodes)
    from qdeploy import registry
    from qdeploy.errors import InputError
    from qdeploy.planning.parallel import Cluster

    row = registry.target(target)
    here = registry.backend(BACKEND).devices(row)
    memory = min((device.memory_bytes or 0) for device in here)
    if not memory:
        raise InputError(
            f"the memory of {here[0].name} is not known", fix="say it: --node-devices 8x80GB"
        )
    return Cluster(memory, len(here), nodes, here[0].name)


def properties(spread: Spread | None) -> Mapping[str, Property]:
    """The properties of a load, for `qdeploy.load`."""
    return spread.properties() if spread else {}


def show_commands(
    spread: Spread, bundle: Bundle, target: str, *, context: int | None, concurrency: int
) -> None:
    """Print what each machine has to run."""
    from qdeploy.serving.nodes import commands

    lines = commands(bundle, target, spread, context=context, concurrency=concurrency)
    click.echo("\n".join(lines))
