"""The outermost layer: gives each request an id, counts it, and logs how it ended."""

from __future__ import annotations

import logging
import re
import secrets
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qdeploy.serving import logs
from qdeploy.serving.errors import told
from qdeploy.serving.metrics import Metrics
from qdeploy.serving.record import Record
from qdeploy.serving.reply import error_response

HEADER = "x-request-id"
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
QUIET = ("/health", "/ready", "/metrics")
"""Asked every few seconds, so logged only where something is wrong."""
GONE = 499
"""nginx's status for a client that left before its answer began: for the log, nobody gets it."""


class RequestsLog:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        record = Record(given if SANE_ID.fullmatch(given) else secrets.token_hex(8))
        scope.setdefault("state", {})["record"] = record
        status, begun = GONE, perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = record.id
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception as error:
            logs.failure("failed", error, request_id=record.id, path=scope["path"])
            if status == GONE:
                await error_response(told(error))(scope, receive, counted)
        finally:
            self._metrics.response(record.route or "other", status)
            if scope["path"] not in QUIET or status >= 400:
                logs.log(
                    logging.ERROR if status >= 500 else logging.INFO,
                    "request",
                    request_id=record.id,
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(1000 * (perf_counter() - begun), 1),
                    **record.fields(),
                )
