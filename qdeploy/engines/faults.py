"""What can go wrong between qdeploy and an engine: one message for each fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qdeploy.errors import GenerationFailed, InputError, QdeployError, TargetUnavailable

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "QDEPLOY_ENDPOINT_KEY"
"""The environment variable that holds the API key of a server that qdeploy did not start."""
MOST_WORDS = 500
"""Characters of a server's own words that a message keeps."""
TIMED_OUT = frozenset({408, 504})
BUSY = frozenset({429, 503})


class EngineGone(GenerationFailed):
    """An engine cannot be reached, or went away before its answer was whole."""


class Unreached(EngineGone):
    """An engine cannot be reached: it has not seen the request."""


@contextmanager
def absent_where_gone() -> Iterator[None]:
    """Make of a server that does not answer, when it is first asked, a target that is absent.

    Raises:
        TargetUnavailable: in place of EngineGone.
    """
    try:
        yield
    except EngineGone as error:
        raise TargetUnavailable(error.what, error.fix or "", where=error.where) from error


def unreachable(where: str, error: httpx.HTTPError) -> QdeployError:
    """The error for a request that got no answer, or not all of one."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return Unreached(
            f"no engine answers ({_cause(error)})",
            where=where,
            fix="start the server, or correct the address",
        )
    if isinstance(error, httpx.TimeoutException):
        return GenerationFailed(
            "the engine sent nothing for too long",
            where=where,
            fix="see in its log what it does, or give it longer",
        )
    if isinstance(error, httpx.DecodingError):
        return garbage(where, "bytes that do not fit their encoding")
    return EngineGone(
        f"the engine went away before its answer was whole ({_cause(error)})",
        where=where,
        fix="see its log, start it again and repeat the request",
    )


def ended_early(where: str) -> QdeployError:
    """The error for a stream that ends before the engine says why the answer ends."""
    return EngineGone(
        "the engine's stream ended before its answer was whole",
        where=where,
        fix="see its log, start it again and repeat the request",
    )


def garbage(where: str, what: str) -> QdeployError:
    """The error for an answer that OpenAI's API does not have."""
    return GenerationFailed(
        f"the answer is not one of OpenAI's API: {what}",
        where=where,
        fix="check that the address is an OpenAI-compatible server's",
    )


def too_large(where: str, most_bytes: int) -> QdeployError:
    """The error for an answer that is larger than what was asked for can be."""
    return GenerationFailed(
        f"the engine sends more than {most_bytes} bytes where less was asked for",
        where=where,
        fix="check that the address is an OpenAI-compatible server's",
    )


def refused(where: str, status: int, body: str, retry_after: str | None = None) -> QdeployError:
    """The error for an HTTP status of 300 and more, or for an error within a stream.

    The server's words in *body* become part of the message; *retry_after* is the header.
    """
    told = f"HTTP {status}: {words(body)}"
    if status < 400:
        return InputError(
            f"the server sends requests elsewhere ({told})",
            where=where,
            fix="give the address that it names, if you trust it: a key would go there, too",
        )
    if status in (401, 403):
        return InputError(
            f"the server wants another API key ({told})",
            where=where,
            fix=f"set {KEY_VARIABLE} in the environment to a key that it takes",
        )
    if status in BUSY:
        wait = f"in {retry_after} s" if (retry_after or "").isdecimal() else "later"
        return GenerationFailed(
            f"the server takes no more requests now ({told})",
            where=where,
            fix=f"try again {wait}",
        )
    if status >= 500 or status in TIMED_OUT:
        return GenerationFailed(
            f"the server failed ({told})", where=where, fix="see the server's log for the cause"
        )
    if status in (404, 405):
        fix = "check the address, and that the server has the model that is asked for"
    else:
        fix = "change the request as the server says"
    return InputError(f"the server refuses the request ({told})", where=where, fix=fix)


def words(body: str) -> str:
    """Return a server's own words in one printable line, cut to `MOST_WORDS` characters.

    The shapes are those of OpenAI and vLLM, Ollama, older vLLM, and FastAPI.
    """
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = body
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    text = found if isinstance(found, str) else json.dumps(found)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MOST_WORDS else f"{line[:MOST_WORDS]}..."


def _cause(error: Exception) -> str:
    return words(str(error)) or type(error).__name__
