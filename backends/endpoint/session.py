"""A session at a server."""

from __future__ import annotations

from qdeploy.engines.client import EngineClient
from qdeploy.engines.session import EngineSession
from qdeploy.interface import Limits, Placement


class EndpointSession(EngineSession):
    """Generates and scores on a server that goes on running when the session is closed."""

    def __init__(
        self, client: EngineClient, limits: Limits, placement: Placement, model: str, device: str
    ) -> None:
        super().__init__(client, limits, model=model, device=device, placement=lambda: placement)
