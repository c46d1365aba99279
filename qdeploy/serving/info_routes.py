"""Routes that tell of the server: models, health, metrics, and where the work runs."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from qdeploy.serving import metrics
from qdeploy.serving.errors import ApiError
from qdeploy.serving.record import Record
from qdeploy.serving.reply import error_response
from qdeploy.serving.service import Service

HEALTH, READY = PROBES = ("/health", "/ready")
"""What load balancers and containers ask, some of them with HEAD."""


def add(app: FastAPI, service: Service) -> None:
    """Add the routes to *app*."""
    begun, description = int(time.time()), describe(service)
    model = {
        "id": service.settings.name,
        "object": "model",
        "created": begun,
        "owned_by": "qdeploy",
        "max_model_len": service.model.context,
    }

    def route(path: str, request: Request) -> None:
        Record.of(request.scope).route = path

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        route("/v1/models", request)
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str, request: Request) -> Response:
        route("/v1/models/{name}", request)
        service.check(name, service.model.task)
        return JSONResponse(model)

    @app.get("/v1/qdeploy")
    async def about(request: Request) -> Response:
        route("/v1/qdeploy", request)
        return JSONResponse(description)

    @app.api_route(HEALTH, methods=["GET", "HEAD"])
    async def health(request: Request) -> Response:
        """The process is alive."""
        route(HEALTH, request)
        return JSONResponse({"status": "ok"})

    @app.api_route(READY, methods=["GET", "HEAD"])
    async def ready(request: Request) -> Response:
        """It takes requests: it does not stop, and its runtime answers."""
        route(READY, request)
        if service.queue.draining:
            return error_response(ApiError(503, "the server is stopping", code="draining"))
        if not await service.probe.is_well():
            return error_response(ApiError(503, "the runtime fails", code="runtime_failed"))
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def prometheus(request: Request) -> Response:
        route("/metrics", request)
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def describe(service: Service) -> dict[str, Any]:
    """What runs where, and how it is known: for the page, reports and whoever asks."""
    model = service.model
    return {
        "model": service.settings.name,
        "task": model.task,
        "target": model.target,
        "backend": model.backend,
        "device": model.choice.device_names,
        "evidence": str(model.placement.evidence),
        "placement": model.placement.as_dict(),
        "concurrency": service.concurrency,
        "queue": service.settings.queue,
        "context": model.context,
        "bundle": {"digest": model.bundle.digest, "format": model.bundle.manifest.format},
        "version": version("qdeploy"),
    }
