"""Asks a server of this machine whether it is well."""

from __future__ import annotations

from http import HTTPStatus

from qdeploy.engines.process import NotReady, Sick

SECONDS = 5.0


def check_health(url: str, path: str = "/health") -> None:
    """Return if the server answers that it is well.

    Raises:
        NotReady: it does not answer, or not in time.
        Sick: it answers with an error.
    """
    import httpx

    try:
        # loopback is not reached through a proxy of the environment
        answer = httpx.get(url + path, timeout=SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise NotReady(str(error)) from error
    if answer.status_code != HTTPStatus.OK:
        raise Sick(f"{path} answered {answer.status_code}")
