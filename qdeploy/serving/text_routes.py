"""Routes that generate text."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.generation.generate import Generation
from qdeploy.interface import Session
from qdeploy.serving import chat_request, replies
from qdeploy.serving.body import read_json
from qdeploy.serving.record import Record
from qdeploy.serving.reply import StreamedReply, WholeReply
from qdeploy.serving.service import Service

CHATS = "/v1/chat/completions"


def add(app: FastAPI, service: Service) -> None:
    """Add the routes to *app*."""

    @app.post(CHATS)
    async def chats(request: Request) -> Response:
        return await _chat(request, service)


async def _body(request: Request, service: Service, route: str) -> tuple[Record, dict[str, Any]]:
    record = Record.of(request.scope)
    record.route = route
    limits = service.settings.limits
    body = await read_json(request, most_bytes=limits.body_bytes, seconds=limits.body_seconds)
    return record, body


async def _chat(request: Request, service: Service) -> Response:
    record, body = await _body(request, service, CHATS)
    limits = service.settings.limits
    fields = chat_request.parse(body, limits)
    service.check(fields.model, "generate")
    model = service.model
    assert isinstance(model, ChatModel)  # noqa: S101  # what the task says
    asked = chat_request.settings(
        fields, model.tokenizer, fields.drawn_seed(), limits.answer_tokens
    )

    def prepare(session: Session, index: int) -> Generation:
        return chat_request.generation(fields, session, model.tokenizer, asked, index)

    works, generations = await service.start(model.session, fields.choices, prepare)
    parts = service.parts(record, works, generations)
    common = replies.frame(model, service.settings.name, "chatcmpl")
    if fields.stream:
        chunks = replies.Chunks(common, with_usage=fields.include_usage)
        return StreamedReply(works, generations, chunks, **parts)
    return WholeReply(works, generations, common.chat, **parts)
