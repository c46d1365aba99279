"""Devices: servers, each named by its address."""

from __future__ import annotations

import os

from qdeploy.backends.endpoint import errors, runtime
from qdeploy.engines.faults import absent_where_gone
from qdeploy.engines.servers import ask
from qdeploy.interface import Device
from qdeploy.targets import SERVER, Target

ENDPOINT = Target("endpoint", "OpenAI-compatible server", SERVER)
ADDRESS_VARIABLE = "QDEPLOY_ENDPOINT"
"""The environment variable that names the server where no address is given."""


def found() -> Device:
    """Return the server that the environment names.

    Raises:
        TargetUnavailable: it names none, or that one does not answer.
    """
    name = os.environ.get(ADDRESS_VARIABLE)
    if not name:
        raise errors.none_is_named(ADDRESS_VARIABLE)
    return named(name)


def named(name: str) -> Device:
    """Return the server at `ADDRESS` or `ADDRESS#MODEL`, as it describes itself now.

    Raises:
        TargetUnavailable: it does not answer.
        InputError: that is no address, or the server lacks the model.
    """
    client, model = runtime.connect(name)
    with client, absent_where_gone():
        server = ask(client, model)
    address = client.address.api
    return Device(
        f"{address}{runtime.MODEL}{model}" if model else address,
        server.title,
        ENDPOINT.name,
        driver=server.version,
        evidence=server.evidence,
    )
