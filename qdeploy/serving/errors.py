"""Errors as OpenAI's API gives them: a status, and `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qdeploy.errors import InputError, OutOfMemory, PromptTooLong, QdeployError

TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
"""OpenAI's words for kinds of errors, by status; other 4xx are as 400, and 5xx `server_error`."""
FIELD = re.compile(r"(messages|prompt|input|tools|tool_choice|response_format)\b")
"""Where an error is, if in a field of the request: of folders and devices, clients are not told."""

OPTION = re.compile(r"(^|\s)--[a-z]")
"""A fix that names an option of the command line: clients have none."""


class ApiError(Exception):
    """What a client is told in place of an answer.

    Args:
        status: the HTTP status.
        message: what is wrong and what helps, in words that hold nothing of the machine.
        param: the field of the request that the message is about.
        code: OpenAI's short word for it.
        headers: further headers of the response, such as `retry-after`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The response's body."""
        kind = "server_error" if self.status >= 500 else TYPES.get(self.status, TYPES[400])
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": told}


def invalid(param: str, message: str, *, code: str = "invalid_value") -> ApiError:
    """The refusal of one field of a request."""
    return ApiError(400, f"{param}: {message}", param=param, code=code)


@contextmanager
def about(param: str) -> Iterator[None]:
    """Errors of input in this block are about one field of the request.

    Raises:
        ApiError: in place of an InputError.
    """
    try:
        yield
    except InputError as error:
        raise invalid(param, _sentence(error)) from None


def told(error: Exception) -> ApiError:
    """Return what a client is told of *error*.

    The error of a request is passed on with its fix. Of a fault of the server the client gets one
    sentence, and the log the rest: where it happened is the name of a device or a folder.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PromptTooLong):
        return ApiError(400, f"{error.what}; shorten it", code="context_length_exceeded")
    if isinstance(error, InputError):
        field = error.where if FIELD.match(error.where or "") else None
        if field:
            return invalid(field, _sentence(error))
        return ApiError(400, _sentence(error), code="invalid_value")
    if isinstance(error, OutOfMemory):
        return ApiError(503, f"too little memory for this request: {error.what}", code="no_memory")
    if isinstance(error, QdeployError):
        return ApiError(500, f"the runtime failed: {error.what}", code="runtime_failed")
    return ApiError(500, "an internal error, which the server's log explains", code="internal")


def _sentence(error: InputError) -> str:
    """What is wrong, and the fix, if clients can do that."""
    fix = None if error.fix and OPTION.search(error.fix) else error.fix
    return "; ".join(filter(None, (error.what, fix)))
