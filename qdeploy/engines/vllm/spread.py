"""A load that is spread over several machines: its properties, and how it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qdeploy.engines.vllm import cluster
from qdeploy.engines.vllm.accelerators import accelerator_of
from qdeploy.engines.vllm.command import Served, environment, flags
from qdeploy.engines.vllm.environment import Environment
from qdeploy.engines.vllm.nodes import PLAIN, RAY, WAYS, Node, Server, read_nodes
from qdeploy.errors import InputError, TargetUnavailable, did_you_mean
from qdeploy.interface import Property
from qdeploy.planning.parallel import Sizes

NODES = "nodes"
PROPERTIES: Mapping[str, type] = {
    NODES: str,
    "nodes_by": str,
    "interface": str,
    "ssh": bool,
    "tensor_parallel": int,
    "pipeline_parallel": int,
    "data_parallel": int,
    "expert_parallel": bool,
}


@dataclass(frozen=True)
class Spread:
    """Where and how a model is spread.

    Attributes:
        way: `plain` or `ray`.
        ssh: whether processes may be started on other machines.
    """

    nodes: tuple[Node, ...]
    sizes: Sizes
    way: str
    ssh: bool = False

    def properties(self) -> dict[str, Property]:
        """The properties of a load that ask for this."""
        found: dict[str, Property] = {
            NODES: ",".join(node.host for node in self.nodes),
            "nodes_by": self.way,
            "ssh": self.ssh,
            "tensor_parallel": self.sizes.tensor,
            "pipeline_parallel": self.sizes.pipeline,
            "data_parallel": self.sizes.data,
            "expert_parallel": self.sizes.expert,
        }
        interface = self.nodes[0].interface
        return found if interface is None else {**found, "interface": interface}

    def server(self, found: Environment, served: Served, port: int) -> Server:
        """The processes of a server for *served*, whose folder all nodes have."""
        variables = environment(served)
        return Server(
            self.nodes,
            self.sizes,
            accelerator_of(served.target),
            str(found.python),
            str(served.model),
            port,
            way=self.way,
            flags=flags(served),
            environment={name: value for name, value in variables.items() if value is not None},
        )

    def command(
        self, found: Environment, served: Served, folder: Path
    ) -> Callable[[int], Sequence[str]]:
        """The command that starts them all, for a port of loopback.

        Args:
            found: vLLM's environment, on every node.
            served: what is served.
            folder: for what vLLM needs beside it.

        Raises:
            InputError: the processes cannot be started from here, or ranks are no whole number on
                each node.
            TargetUnavailable: the environment has no Ray.
        """
        if self.way == RAY and not found.has_ray:
            raise TargetUnavailable(
                "vLLM's environment has no Ray",
                "qdeploy engine install vllm --ray --force, or --nodes-by plain",
                where=found.python,
            )
        first = self.server(found, served, 0)
        cluster.check_places(first, ssh=self.ssh)
        first.members()

        def command(port: int) -> Sequence[str]:
            server = self.server(found, served, port)
            if server.accelerator.is_simulated:
                server = cluster.simulated(server, folder, found.version)
            return cluster.command(server)

        return command


def read_spread(given: Mapping[str, Property]) -> Spread | None:
    """What the properties of a load ask for; None for one machine.

    Raises:
        InputError: nodes or the way between them are not known, or sizes are not positive.
    """
    if NODES not in given:
        return None
    interface = given.get("interface")
    nodes = read_nodes(str(given[NODES]), None if interface is None else str(interface))
    way = str(given.get("nodes_by", PLAIN))
    if way not in WAYS:
        raise InputError(f"unknown way between nodes: {way!r}", fix=did_you_mean(way, WAYS))
    tensor, pipeline, data = (
        int(given.get(f"{name}_parallel", 1)) for name in ("tensor", "pipeline", "data")
    )
    if min(tensor, pipeline, data) < 1:
        raise InputError("sizes of a spread model are whole numbers from 1 up", fix="see the plan")
    sizes = Sizes(tensor, pipeline, data, bool(given.get("expert_parallel", False)))
    return Spread(nodes, sizes, way, bool(given.get("ssh", False)))
