"""The processes of a vLLM server on several machines, as data: command lines and environments.

Two ways, with the same result:

    plain   every node runs `vllm serve` with its rank; the first one has the API, the others have
            no server (`--headless`). They meet at the first node's master port
    ray     every node runs `ray start`; beside the first one, `vllm serve` places its ranks on them

The API listens on loopback of the first node, where its client runs, unless told otherwise. What
the nodes say to each other is neither encrypted nor authenticated: they belong in a network of
their own.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qdeploy.engines.process import LOOPBACK
from qdeploy.engines.vllm.accelerators import Accelerator
from qdeploy.engines.vllm.command import PLATFORMS, THREADS
from qdeploy.errors import InputError
from qdeploy.planning.parallel import Sizes

PLAIN, RAY = "plain", "ray"
WAYS = (PLAIN, RAY)
MASTER_PORT, RAY_PORT, RAYLET_PORT = 29501, 6379, 6380
"""Of the meeting of plain nodes, of Ray's head, and of each node's raylet."""
OBJECT_STORE_BYTES = 10**9
"""Of each node's Ray: vLLM sends no tensors through it."""
MOST_NODES = 1024
NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*")
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,31}")


@dataclass(frozen=True)
class Node:
    """A machine.

    Attributes:
        host: its address or name, as the other nodes reach it.
        interface: the network interface that it talks to them over; None lets libraries choose.
        devices: numbers of the devices to use; empty for all.
        threads: the cores of each rank on a CPU, in vLLM's words (`0-7|8-15`); None lets it choose.
    """

    host: str
    interface: str | None = None
    devices: tuple[int, ...] = ()
    threads: str | None = None


@dataclass(frozen=True)
class Member:
    """A process of the server.

    Attributes:
        host: the node that it runs on.
        what: what it is, for people.
        ready: host and port that answer when the next one may start; None for at once.
    """

    host: str
    what: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: tuple[str, int] | None = None


@dataclass(frozen=True)
class Server:
    """A vLLM server on several machines.

    Attributes:
        nodes: the first one has the API.
        sizes: how the model is spread over all of them.
        accelerator: the row of their hardware.
        python: the interpreter of vLLM's environment, on every node.
        model: the folder of the model, on every node.
        flags: further arguments of `vllm serve`.
        environment: variables of every process.
        port: of the API.
        listen: the address that the API listens on.
        way: `plain` or `ray`.
        ray_folder: where Ray keeps its files; None is its own place, `/tmp/ray`.
        base_port: added to the ports that nodes talk over, where several servers share machines.
    """

    nodes: tuple[Node, ...]
    sizes: Sizes
    accelerator: Accelerator
    python: str
    model: str
    port: int
    listen: str = LOOPBACK
    way: str = PLAIN
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ray_folder: str | None = None
    base_port: int = 0

    @property
    def ranks_of_node(self) -> int:
        return self.sizes.ranks // len(self.nodes)

    def members(self) -> list[Member]:
        """Its processes, in the order in which they start.

        Raises:
            InputError: the ranks are not the same number on every node.
        """
        if self.sizes.ranks % len(self.nodes):
            raise InputError(
                f"{self.sizes.ranks} ranks ({self.sizes}) are not the same number on each of "
                f"{len(self.nodes)} nodes",
                fix="sizes whose product the number of nodes divides",
            )
        return _with_ray(self) if self.way == RAY else _plain(self)


def size_flags(sizes: Sizes) -> list[str]:
    """The arguments of `vllm serve` that set sizes; those of one rank are left out."""
    counts = {
        "--tensor-parallel-size": sizes.tensor,
        "--pipeline-parallel-size": sizes.pipeline,
        "--data-parallel-size": sizes.data,
    }
    flags = [word for name, count in counts.items() if count > 1 for word in (name, str(count))]
    return [*flags, *(["--enable-expert-parallel"] if sizes.expert else [])]


def _plain(server: Server) -> list[Member]:
    first = server.nodes[0]
    found = []
    for rank, node in enumerate(server.nodes):
        meeting = (
            "--nnodes", str(len(server.nodes)), "--node-rank", str(rank),
            "--master-addr", first.host, "--master-port", str(MASTER_PORT + server.base_port),
        )  # fmt: skip
        role = ("--headless",) if rank else _listen(server)
        command = (*_serve(server), *meeting, *role)
        what = f"vLLM, node {rank}" if rank else "vLLM, node 0, with the API"
        found.append(Member(node.host, what, command, _environment(server, node)))
    return found


def _with_ray(server: Server) -> list[Member]:
    first = server.nodes[0]
    head = f"{first.host}:{RAY_PORT + server.base_port}"
    rows = server.accelerator
    counted = [words.format(ranks=server.ranks_of_node) for words in rows.ray_arguments]
    found = []
    for rank, node in enumerate(server.nodes):
        port = RAY_PORT + server.base_port
        leads = ["--head", f"--port={port}", "--include-dashboard=false"]
        leads += [f"--temp-dir={server.ray_folder}"] if server.ray_folder else []
        join = [f"--address={head}"] if rank else leads
        raylet = RAYLET_PORT + server.base_port + rank
        command = (
            server.python, "-m", "ray.scripts.scripts", "start", *join, "--block",
            f"--node-ip-address={node.host}", f"--node-manager-port={raylet}",
            "--disable-usage-stats", f"--object-store-memory={OBJECT_STORE_BYTES}", *counted,
        )  # fmt: skip
        environment = {**_environment(server, node), **dict(rows.ray_environment)}
        what = f"Ray, node {rank}" if rank else "Ray, node 0, the head"
        found.append(Member(node.host, what, command, environment, (node.host, raylet)))
    executor = ["--distributed-executor-backend", "ray"]
    executor += ["--data-parallel-backend", "ray"] if server.sizes.data > 1 else []
    environment = {
        **_environment(server, first), **dict(rows.ray_environment), "RAY_ADDRESS": head
    }  # fmt: skip
    command = (*_serve(server), *executor, *_listen(server))
    return [*found, Member(first.host, "vLLM, with the API", command, environment)]


def _serve(server: Server) -> tuple[str, ...]:
    vllm = (server.python, "-m", "vllm.entrypoints.cli.main", "serve", server.model)
    return (*vllm, *server.flags, *size_flags(server.sizes))


def _listen(server: Server) -> tuple[str, ...]:
    return ("--host", server.listen, "--port", str(server.port))


def _environment(server: Server, node: Node) -> dict[str, str]:
    row = server.accelerator
    found = {**server.environment, **dict.fromkeys(row.addresses, node.host)}
    if node.interface:
        found |= dict.fromkeys(row.interfaces, node.interface)
    if node.devices and (mask := PLATFORMS[row.target].mask):
        found[mask] = ",".join(map(str, node.devices))
    if node.threads:
        found[THREADS] = node.threads
    return found


def as_shell(member: Member) -> str:
    """A member's command with its environment, as a line for a POSIX shell."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in member.environment.items()]
    return " ".join([*variables, shlex.join(member.command)])


def read_nodes(hosts: str, interface: str | None = None) -> tuple[Node, ...]:
    """The nodes of `HOST1,HOST2`.

    Raises:
        InputError: a name that is none, twice the same, fewer than two, or no interface's name.
    """
    names = [name.strip() for name in hosts.split(",")]
    for name in names:
        check_host(name)
    if len(set(names)) < len(names) or not 2 <= len(names) <= MOST_NODES:
        raise InputError(
            f"--nodes {hosts!r} are not two or more different machines",
            fix="addresses that the machines reach each other by: --nodes 10.0.0.1,10.0.0.2",
        )
    if interface is not None and not INTERFACE.fullmatch(interface):
        raise InputError(
            f"{interface!r} is no name of a network interface", fix="e.g. --interface eth0"
        )
    return tuple(Node(name, interface) for name in names)


def check_host(name: str) -> None:
    """Check that *name* is an address, or a name of a host: never an option of a command.

    Raises:
        InputError: it is neither.
    """
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if not NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no address and no name of a machine",
                where="--nodes",
                fix="e.g. --nodes 10.0.0.1,10.0.0.2; users and keys belong in ~/.ssh/config",
            ) from None


def describe(members: Sequence[Member]) -> list[str]:
    """Lines for people: what to run on each node, in order."""
    return [line for m in members for line in (f"# {m.host}: {m.what}", as_shell(m))]
