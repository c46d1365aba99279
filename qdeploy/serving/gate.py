"""Who may come in: hosts, origins and API keys are checked before anything is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from qdeploy.serving.errors import ApiError
from qdeploy.serving.reply import error_response
from qdeploy.serving.settings import Settings


class Gate:
    """ASGI middleware that refuses requests of the wrong host, origin or key.

    Args:
        app: what is behind it.
        settings: hosts, origins and keys.
        open_paths: paths that never ask for a key. All others do where there are keys, so that a
            new route is not left open by mistake.
    """

    def __init__(self, app: ASGIApp, settings: Settings, *, open_paths: Collection[str]) -> None:
        self._app, self._settings, self._open_paths = app, settings, open_paths
        self._keys = [_digest(key) for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except ApiError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        hosts, origins = self._settings.hosts, self._settings.origins
        if hosts is not None and not _is_own(_name(host), hosts):
            # a web page whose name was made to point here (DNS rebinding) would pass as ours
            raise ApiError(421, f"this server is not {host!r}", code="wrong_host")
        origin = headers.get("origin")
        if origin and _netloc(origin) != host and not {origin, "*"} & set(origins):
            raise ApiError(403, f"pages of {origin} may not use this server", code="wrong_origin")
        if self._keys and path not in self._open_paths:
            self._check_key(headers.get("authorization", ""))

    def _check_key(self, header: str) -> None:
        scheme, _, key = header.partition(" ")
        if scheme.lower() != "bearer" or not _known(key.strip(), self._keys):
            raise ApiError(
                401,
                "no API key, or a wrong one; give it as 'authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _known(key: str, digests: Sequence[bytes]) -> bool:
    """Whether the key is one of those, in a time that tells nothing about them."""
    given = _digest(key)
    return sum(hmac.compare_digest(given, digest) for digest in digests) > 0


def _is_own(name: str, hosts: Sequence[str]) -> bool:
    """Whether a request to *name* is meant for a server on loopback with these further names."""
    if name == "localhost" or name in hosts:
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str | None:
    """Host and port of a header `origin`; None where it is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """The name in a header `host`, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
