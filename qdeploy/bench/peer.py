"""Peers: the runtime's own library runs the same bundle without qdeploy, as its users do.

A peer gets the bundle's directory, the protocol's token ids and as many CPU threads as qdeploy's
own session had; everything else is the library's default. It reports the time of each token.
Backends provide peers; the row of a bundle format names its peer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from qdeploy import registry
from qdeploy.bundle import Bundle
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.generation.latency import Timing
from qdeploy.interface import Peer

Generate = Callable[[Sequence[int], int], Timing]
"""Generates a number of new tokens greedily, and returns the time of each."""


def find(bundle: Bundle) -> Peer:
    """Return the peer of a bundle.

    Raises:
        InputError: no peer runs its format, or its target.
        TargetUnavailable: the library is not installed.
    """
    manifest, known = bundle.manifest, registry.peers()
    row = registry.formats().get(manifest.format)
    peer = known.get(row.peer or "") if row else None
    if peer is None or not (bundle.path / peer.needs).is_file():
        raise InputError(
            f"no library is known that runs this bundle (format {manifest.format}) directly",
            where=bundle.path,
            fix=f"leave out --peer; it knows {', '.join(known)}",
        )
    if peer.targets and manifest.target not in peer.targets:
        raise InputError(
            f"{peer.distribution} by itself would run this bundle on {', '.join(peer.targets)}, "
            f"not on {manifest.target}",
            where=bundle.path,
            fix="leave out --peer",
        )
    if find_spec(peer.module) is None:
        raise TargetUnavailable(
            f"the peer {peer.distribution} is not installed", f"pip install {peer.distribution}"
        )
    return peer


def title(peer: Peer, threads: int | None = None) -> str:
    """Return the peer's name, version and number of threads."""
    name = f"{peer.distribution} {version(peer.distribution)}"
    return name if threads is None else f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def load(peer: Peer, folder: Path, device: str, threads: int | None) -> Generate:
    """Load the bundle in *folder* into the peer's library, which computes with *threads*."""
    run = peer.load(folder, device, threads)

    def generate(ids: Sequence[int], new: int) -> Timing:
        start, stamps = run(ids, new)
        return Timing(start, tuple(stamps))

    return generate
