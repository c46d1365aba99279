"""A bundle on a vLLM server."""

from __future__ import annotations

from contextlib import ExitStack

from qdeploy.backends.vllm.placement import prove_placement
from qdeploy.backends.vllm.runtime import Server
from qdeploy.backends.vllm.settings import Settings
from qdeploy.engines.child_session import ChildSession
from qdeploy.interface import Limits, Request, Session
from qdeploy.interface.schema import SchemaGuide, schema_guide

WARM_UP = Request(prompt_ids=(0, 0), max_new_tokens=2)
"""A prefill and a step: some kernels are looked for, and compiled, at the first request."""
HOTTEST = 2.0
"""The highest temperature that vLLM takes (0.32, `SamplingParams._verify_args`)."""


class VllmSession(ChildSession):
    """A session whose schemas are checked before any work, where llguidance is installed here."""

    guide: SchemaGuide | None = None

    def check_wishes(self, request: Request) -> None:
        super().check_wishes(request)
        if request.json_schema is not None and self.guide is not None:
            self.guide.check(request.json_schema)


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
        session = VllmSession(
            server.child,
            server.connect,
            Limits(
                served.context,
                settings.vocabulary,
                concurrency=served.sequences,
                logprobs=settings.vocabulary,
                json_schema=True,
                temperature=HOTTEST,
            ),
            model=served.name,
            device=settings.devices[0].name,
            placement=lambda: placement,
            resources=server.resources,
        )
        session.guide = schema_guide(served.model, settings.vocabulary)
        if served.context > len(WARM_UP.prompt_ids):
            for _ in session.generate(WARM_UP):
                pass
        failing.pop_all()
    return session
