"""The backend: a device for each address, and sessions there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.backends.endpoint import devices, placement, runtime, settings
from qdeploy.backends.endpoint.session import EndpointSession
from qdeploy.interface import Backend, Device, LoadOptions, Session
from qdeploy.targets import Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.planning.plan import Plan


class EndpointBackend(Backend):
    """Servers that speak OpenAI's API. Of a bundle, they need the text files only."""

    name = "endpoint"
    formats = ()
    targets = (devices.ENDPOINT,)
    addressed = True

    def devices(self, target: Target, *, simulate: bool = False) -> list[Device]:
        return [devices.found()]

    def device_at(self, target: Target, address: str) -> Device:
        return devices.named(address)

    def why_not(self, plan: Plan) -> str | None:
        return None

    def load(self, bundle: Bundle, device: Device, options: LoadOptions) -> Session:
        client, model = runtime.connect(device.id)
        try:
            server, abilities = runtime.ask_all(client, model)
            limits = settings.limits(bundle.manifest, server, abilities, options)
        except BaseException:
            client.close()
            raise
        return EndpointSession(client, limits, placement.of(server), server.model.id, device.name)
