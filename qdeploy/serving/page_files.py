"""The chat page: static files, which may load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, Response

from qdeploy.serving.record import Record

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # asks again, so a newer version is seen at once
}
INDEX = "index.html"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Types of the files that are served; what else lies beside them is for readers of the code."""


def add_page(app: FastAPI, folder: Path) -> Sequence[str]:
    """Serve the files of *folder*: a route for each, so that no path leads anywhere else.

    Returns the routes' paths.
    """
    paths = []
    for file in sorted(folder.rglob("*")):
        if file.suffix in TYPES:
            name = file.relative_to(folder).as_posix()
            paths.append("/" if name == INDEX else f"/{name}")
            _add(app, paths[-1], file)
    return paths


def _add(app: FastAPI, path: str, file: Path) -> None:
    async def page(request: Request) -> Response:
        Record.of(request.scope).route = "page"
        return FileResponse(file, headers=HEADERS, media_type=TYPES[file.suffix])

    app.api_route(path, methods=["GET", "HEAD"])(page)
