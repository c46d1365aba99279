"""A request's body: read within limits of size and time, and decoded as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from qdeploy.serving.errors import ApiError


async def read_json(request: Request, *, most_bytes: int, seconds: float) -> dict[str, Any]:
    """Read the body of *request* and decode it: a JSON object in UTF-8.

    Raises:
        ApiError: it is compressed (415), too long (413), too slow (408), or anything else than that
            (400).
        ClientDisconnect: the client left.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise ApiError(
            415, "the body is compressed; send it as it is, without content-encoding",
            code="unsupported_encoding", headers={"accept-encoding": "identity"},
        )  # fmt: skip
    try:
        raw = await asyncio.wait_for(_read(request, most_bytes), seconds)
    except asyncio.TimeoutError:
        raise ApiError(
            408,
            f"the body did not arrive within {seconds:g} s",
            code="request_timeout",
            headers={"connection": "close"},
        ) from None
    return decode(raw)


async def _read(request: Request, most_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > most_bytes:
        raise _too_large(most_bytes)
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > most_bytes:
            raise _too_large(most_bytes)
    return bytes(raw)


def _too_large(most_bytes: int) -> ApiError:
    return ApiError(
        413,
        f"the body is larger than this server's limit of {most_bytes} bytes",
        code="body_too_large",
        headers={"connection": "close"},  # the rest is not read
    )


def decode(raw: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        ApiError: it is not UTF-8, not JSON, no object, or holds text that no tokenizer takes.
    """
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _malformed(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise _malformed("the body is nested too deeply") from None
    except ValueError as error:
        raise _malformed(f"the body is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise _malformed("the body is not a JSON object")
    if b"\\ud" in raw or b"\\uD" in raw:  # an escape may be half of a surrogate pair
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _malformed("the body has a lone surrogate, which is no character") from None
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _malformed(message: str) -> ApiError:
    return ApiError(400, message, code="malformed_body")


__all__ = ["ClientDisconnect", "decode", "read_json"]
