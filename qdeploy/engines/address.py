"""Addresses of engines: one spelling of each, without secrets."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from qdeploy.errors import InputError

API_FOLDER = re.compile(r"/v\d+$")
"""What the paths of OpenAI's API begin with: `/v1`, and `/v3` in OpenVINO Model Server."""
EXAMPLE = "e.g. http://127.0.0.1:8000/v1"


@dataclass(frozen=True)
class Address:
    """Where an engine answers.

    Attributes:
        root: what health, metrics and version are below, e.g. `http://127.0.0.1:8000`.
        api: what the paths of OpenAI's API are below, e.g. `http://127.0.0.1:8000/v1`.
        is_loopback: whether it is on this machine, and no proxy is to be asked.
    """

    root: str
    api: str
    is_loopback: bool


def parse_address(url: str) -> Address:
    """Return the address that a user means: with or without `/v1` at its end.

    Raises:
        InputError: it is no address of HTTP, or holds a user, a password or a query, which would
            end up in results and logs. The message does not repeat them.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port  # which raises for a port that is none
    except ValueError:
        raise InputError("an engine's address cannot be read", fix=f"give one {EXAMPLE}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "an engine's address holds a password, a query or a fragment",
            where=f"{parts.scheme}://{host}",
            fix="give the address without them; keys come from the environment",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"no address of an engine: {url!r}", fix=f"give one {EXAMPLE}")
    return _address(parts, host)


def _address(parts: SplitResult, host: str) -> Address:
    whole = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    root = API_FOLDER.sub("", whole)
    return Address(root, f"{whole}/v1" if root == whole else whole, _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
