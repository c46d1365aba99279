"""The ASGI application: routes, errors in OpenAI's shape, and the layers around them."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from qdeploy.errors import QdeployError
from qdeploy.serving import encode_routes, info_routes
from qdeploy.serving.errors import ApiError, told
from qdeploy.serving.gate import Gate
from qdeploy.serving.page_files import add_page
from qdeploy.serving.record import Record
from qdeploy.serving.reply import error_response
from qdeploy.serving.requests_log import RequestsLog
from qdeploy.serving.service import Service, describe
from qdeploy.serving.text import text_routes

PAGE = Path(__file__).parent / "page"


def make_app(service: Service) -> ASGIApp:
    """Make the application that serves *service*."""
    # its own pages of documentation would load scripts from elsewhere
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(ApiError, _known)
    app.add_exception_handler(QdeployError, _known)
    app.add_exception_handler(StarletteHTTPException, _routing)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)
    info_routes.add(app, service)
    text_routes.add(app, service)
    encode_routes.add(app, service)
    open_paths = {*info_routes.PROBES, *add_page(app, PAGE)}
    layers: ASGIApp = Gate(app, service.settings, open_paths=open_paths)
    if service.settings.origins:
        layers = CORSMiddleware(
            layers,
            allow_origins=service.settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return RequestsLog(layers, service.metrics)


async def _known(request: Request, error: Exception) -> Response:
    Record.of(request.scope).error = describe(error)
    return error_response(told(error))


async def _unexpected(_request: Request, error: Exception) -> Response:
    """A bug. Starlette raises it again, for the log."""
    return error_response(told(error))


async def _routing(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    assert isinstance(error, HTTPException | StarletteHTTPException)  # noqa: S101  # see make_app
    method, path = request.method, request.url.path
    message = f"there is no {method} {path}" if error.status_code in (404, 405) else error.detail
    code = "unknown_url" if error.status_code == 404 else None
    return error_response(
        ApiError(error.status_code, message, code=code, headers=error.headers or {})
    )


async def _left(_request: Request, _error: Exception) -> Response:
    """The client left in the middle of its request. Nobody reads this."""
    return Response(status_code=499)
