"""Proof of placement: the execution provider of every node, from the session's own record."""

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
"""Operators of arithmetic on shapes, such as sequence lengths computed from the mask. Providers
assign them to the CPU on purpose. All other operators are heavy."""
NAMED = 4
"""Number of nodes that an error lists."""


class Node(NamedTuple):
    """A node, and the execution provider that it is assigned to."""

    provider: str
    kind: str
    name: str


def assigned_nodes(session: Any) -> list[Node]:
    """Return every node with the provider that the runtime assigned it to."""
    return [
        Node(part.ep_name, node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def prove_placement(nodes: Iterable[Node], settings: Settings) -> Placement:
    """Return the placement, after a check that the requested provider runs the heavy operators.

    Raises:
        PlacementError: a heavy operator is assigned to another provider and fallback is not
            allowed, or no heavy operator is assigned to the requested one.
    """
    nodes = list(nodes)
    wanted = settings.provider.name
    heavy = [n for n in nodes if n.kind not in LIGHT]
    strays = [n for n in heavy if n.provider != wanted]
    if strays and not settings.allow_fallback:
        raise PlacementError(
            f"{len(strays)} heavy operators are not on {wanted}: {_list(strays)}",
            where=settings.device.name,
            fix="a bundle made for this target, or --allow-fallback to run it anyway",
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
