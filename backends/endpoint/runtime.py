"""The other end: a client of the server at an address, and what the server says of itself."""

from __future__ import annotations

import os

from qdeploy.engines.client import EngineClient
from qdeploy.engines.faults import KEY_VARIABLE
from qdeploy.engines.servers import Abilities, Server, ask, try_token_ids

MODEL = "#"
"""What separates the name of a model from the address, in a device's name."""


def connect(name: str) -> tuple[EngineClient, str | None]:
    """Return a client for `ADDRESS` or `ADDRESS#MODEL`, and the model. It asks nothing yet.

    Raises:
        InputError: that is no address, or it holds a password.
    """
    address, _, model = name.partition(MODEL)
    return EngineClient(address, api_key=os.environ.get(KEY_VARIABLE)), model or None


def ask_all(client: EngineClient, model: str | None) -> tuple[Server, Abilities]:
    """Ask the server what it is and what it can do by token ids.

    Raises:
        QdeployError: it cannot be reached, lacks the model, or takes text only.
    """
    server = ask(client, model)
    return server, try_token_ids(client, server)
