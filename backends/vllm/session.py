"""A bundle on a vLLM server."""

from __future__ import annotations

from contextlib import ExitStack

from qdeploy.backends.vllm.placement import prove_placement
from qdeploy.backends.vllm.runtime import Server
from qdeploy.backends.vllm.settings import Settings
from qdeploy.engines.child_session import ChildSession
from qdeploy.interface import Limits, Request, Session

WARM_UP = Request(prompt_ids=(0, 0), max_new_tokens=2)
"""A prefill and a step: some kernels are looked for, and compiled, at the first request."""


def open_session(server: Server, settings: Settings) -> Session:
    """Return the session of a server that has started, after a request of two tokens.

    Raises:
        PlacementError: it runs on another kind of device.
        GenerationFailed: it starts, and cannot generate.
    """
    served = settings.served
    with ExitStack() as failing:
        failing.enter_context(server.resources)
        placement = prove_placement(server.log, settings)
        session = ChildSession(
            server.child,
            server.connect,
            Limits(
                served.context,
                settings.vocabulary,
                concurrency=served.sequences,
                logprobs=settings.vocabulary,
                json_schema=True,
            ),
            model=served.name,
            device=settings.devices[0].name,
            placement=lambda: placement,
            resources=server.resources,
        )
        if served.context > len(WARM_UP.prompt_ids):
            for _ in session.generate(WARM_UP):
                pass
        failing.pop_all()
    return session
