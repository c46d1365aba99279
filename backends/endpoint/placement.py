"""Where a server computes, by its own word: nothing here can check it."""

from __future__ import annotations

from qdeploy.engines.servers import Server
from qdeploy.interface import Placement


def of(server: Server) -> Placement:
    """Return the server's word, with the page on which it says so as the proof."""
    return Placement((server.title,), server.evidence, server.proof)
