"""Where every node of a graph went, from the session's own record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.errors import PlacementError
from qdeploy.interface import Placement

PROOF = "the session's graph assignment, node by node"
LIGHT = frozenset({
    "Shape", "Gather", "Cast", "ReduceSum", "Sub", "Range", "Squeeze", "Unsqueeze", "Constant",
    "Identity",
})  # fmt: skip
"""Operators of arithmetic on shapes, which providers leave to the CPU on purpose: the lengths of
sequences come from the mask. All others are heavy."""
NAMED = 4
"""Nodes that an error names of those that are too many to list."""


class Node(NamedTuple):
    """A node, and the execution provider that has it."""

    provider: str
    kind: str
    name: str


def assigned(session: Any) -> list[Node]:
    """Every node as the runtime partitioned the graph."""
    return [
        Node(part.ep_name, node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def prove(nodes: Iterable[Node], settings: Settings) -> Placement:
    """Where the work runs, if that is where it was asked to.

    Raises:
        PlacementError: a heavy operator went to another provider, and that is not allowed; or
            none is where it was asked to.
    """
    nodes = list(nodes)
    wanted = settings.provider.name
    heavy = [n for n in nodes if n.kind not in LIGHT]
    strays = [n for n in heavy if n.provider != wanted]
    if strays and not settings.allow_fallback:
        raise PlacementError(
            f"{len(strays)} heavy operators are not on {wanted}: {_list(strays)}",
            where=settings.device.name,
            fix="a bundle made for this target, or --allow-fallback to run it all the same",
        )
    if len(strays) == len(heavy):
        raise PlacementError(
            f"nothing of the model is on {wanted}",
            where=settings.device.name,
            fix=f"a bundle made for this target: --target {settings.provider.target.name}",
        )
    counts = Counter(n.provider for n in nodes)
    elsewhere = dict.fromkeys(n.provider for n in strays)
    device = settings.device.name if settings.simulated else settings.device.id
    return Placement(
        (device, *elsewhere),
        settings.device.evidence,
        PROOF,
        dict(counts.most_common()),
        tuple(f"{n.kind} {n.name} on {n.provider}" for n in strays),
        settings.threads,
    )


def _list(nodes: list[Node]) -> str:
    named = [f"{n.name} ({n.kind}, on {n.provider})" for n in nodes[:NAMED]]
    more = len(nodes) - len(named)
    return ", ".join([*named, *([f"and {more} more"] if more else [])])
