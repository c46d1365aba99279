"""What a session at a server can take: the least of what bundle, server and user say."""

from __future__ import annotations

from qdeploy.bundle import Manifest
from qdeploy.engines.servers import Abilities, Server
from qdeploy.errors import InputError
from qdeploy.interface import Limits, LoadOptions


def limits(
    manifest: Manifest, server: Server, abilities: Abilities, options: LoadOptions
) -> Limits:
    """Return the limits of a session.

    Raises:
        InputError: a context is asked for that the server does not hold.
    """
    most, asked = server.model.context, options.context
    if most is not None and asked is not None and asked > most:
        raise InputError(
            f"a context of {asked} tokens is asked for, and the server holds {most}",
            where=server.model.id,
            fix=f"--context {most}, or restart the server with a longer one",
        )
    told = [n for n in (most, manifest.model.context_length) if n is not None]
    return Limits(
        asked or min(told),
        manifest.model.vocab_size,
        concurrency=options.concurrency,
        logprobs=abilities.logprobs,
        json_schema=server.kind.constrains,
    )
