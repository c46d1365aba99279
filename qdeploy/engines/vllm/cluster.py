"""Starts a vLLM server on several machines: one command that runs all of its processes."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qdeploy.engines import crew
from qdeploy.engines.remote import over_ssh
from qdeploy.engines.vllm import overlay
from qdeploy.engines.vllm.nodes import RAY, Member, Server
from qdeploy.errors import InputError

SSH_GRACE_SECONDS = 20.0


def command(server: Server) -> tuple[str, ...]:
    """The program and its arguments that run all processes of *server* as one.

    Those of this machine's addresses are its children, the others are started through ssh.
    """
    programs = [_program(server, member) for member in server.members()]
    return (sys.executable, "-I", "-S", crew.__file__, json.dumps(programs))


def _program(server: Server, member: Member) -> dict[str, object]:
    here = is_here(member.host)
    there = over_ssh(
        member.host, member.command, member.environment,
        python=server.python, grace=SSH_GRACE_SECONDS,
    )  # fmt: skip
    return {
        "name": f"{member.host}: {member.what}",
        "command": list(member.command) if here else there,
        "environment": dict(member.environment) if here else {},
        "ready": member.ready,
    }


def check_places(server: Server, *, ssh: bool) -> None:
    """Check that the processes can be started from this machine.

    Raises:
        InputError: the first node is another machine; others are, and ssh is not allowed; or they
            are, and ranks run on CPUs, which is a simulation on one machine.
    """
    first, *others = [node.host for node in server.nodes]
    elsewhere = [host for host in others if not is_here(host)]
    if not is_here(first):
        raise InputError(
            f"{first} is no address of this machine, and the first node has the API",
            where="--nodes",
            fix=f"run this on {first}, or name this machine first",
        )
    if elsewhere and server.accelerator.is_simulated:
        raise InputError(
            f"{elsewhere[0]} is another machine: nodes of CPUs are a simulation, on one machine",
            where="--nodes",
            fix="addresses of this machine, e.g. 127.0.0.1,127.0.0.2",
        )
    if elsewhere and not ssh:
        raise InputError(
            f"{', '.join(elsewhere)}: other machines, on which nothing is started unasked",
            where="--nodes",
            fix="--ssh to start the processes there, or --print-commands to do it yourself",
        )


def is_here(host: str) -> bool:
    """Whether *host* is an address of this machine."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_binds(family, place) for family, _, _, _, place in found)


def _binds(family: int, place: object) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(place)  # type: ignore[arg-type]  # of the family
    except OSError:
        return False
    return True


def simulated(server: Server, folder: Path, version: str) -> Server:
    """The same on this machine's CPUs: with the overlay, and each rank on cores of its own.

    Args:
        server: its nodes are addresses of this machine.
        folder: of the overlay, and of Ray's files; is made.
        version: of vLLM.
    """
    place = folder / "overlay"
    overlay.write(place, version, ray=server.way == RAY)
    cores = sorted(os.sched_getaffinity(0))
    nodes = tuple(
        replace(node, threads=_threads(cores, number, server))
        for number, node in enumerate(server.nodes)
    )
    environment = {**server.environment, "PYTHONPATH": str(place)}
    ray = str(folder / "ray")
    return replace(server, nodes=nodes, environment=environment, ray_folder=ray)


def _threads(cores: Sequence[int], number: int, server: Server) -> str:
    """The cores of each rank of a node, in vLLM's words; ranks share cores where there are few."""
    ranks, here = server.sizes.ranks, server.ranks_of_node
    each = max(1, len(cores) // ranks)
    starts = (rank * each % len(cores) for rank in range(number * here, (number + 1) * here))
    return "|".join(",".join(map(str, cores[start : start + each])) for start in starts)
