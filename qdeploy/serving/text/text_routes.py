"""Routes that generate text."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from qdeploy.generation.completion import Completion
from qdeploy.generation.generate import Generation
from qdeploy.interface import Session
from qdeploy.serving.record import Record
from qdeploy.serving.reply import StreamedReply, WholeReply
from qdeploy.serving.service import Service
from qdeploy.serving.text import chat_request, completion_request, token_request, token_routes
from qdeploy.serving.text.chat_reply import ChatReply
from qdeploy.serving.text.completion_reply import CompletionReply
from qdeploy.serving.text.frame import frame
from qdeploy.serving.text.token_routes import able_model

CHATS = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def add(app: FastAPI, service: Service) -> None:
    """Add the routes to *app*."""

    @app.post(CHATS)
    async def chats(request: Request) -> Response:
        return await _chat(request, service)

    @app.post(COMPLETIONS)
    async def completions(request: Request) -> Response:
        return await _complete(request, service)


async def _chat(request: Request, service: Service) -> Response:
    record = Record.of(request.scope)
    record.route = CHATS
    fields = chat_request.parse(await service.body(request), service.settings.limits)
    model, seed = able_model(service, fields), fields.drawn_seed()
    asked = chat_request.settings(
        fields, model.tokenizer, seed, service.settings.limits.answer_tokens
    )

    def prepare(session: Session, index: int) -> Generation:
        return chat_request.generation(fields, session, model.tokenizer, asked, index)

    works, made = await service.start(model.session, fields.choices, prepare)
    parts = service.parts(record, works, made, choices=fields.choices)
    reply = ChatReply(
        frame(model, service.settings.name, "chatcmpl", seed),
        model.tokenizer,
        with_logprobs=asked.logprobs is not None,
        with_usage=fields.include_usage,
    )
    if fields.stream:
        return StreamedReply(made, reply, **parts)
    return WholeReply(made, reply.whole, **parts)


async def _complete(request: Request, service: Service) -> Response:
    record = Record.of(request.scope)
    record.route = COMPLETIONS
    asked_for = await service.body(request)
    if token_request.is_by_ids(asked_for):
        return await token_routes.answer(record, asked_for, service)
    fields = completion_request.parse(asked_for, service.settings.limits)
    model, seed = able_model(service, fields), fields.drawn_seed()
    asked = completion_request.settings(
        fields, model.tokenizer, seed, service.settings.limits.answer_tokens
    )

    def prepare(session: Session, index: int) -> Completion:
        return completion_request.completion(fields, session, model.tokenizer, asked, index)

    count = len(fields.prompts) * fields.choices
    works, made = await service.start(model.session, count, prepare)
    parts = service.parts(record, works, made, choices=fields.choices)
    reply = CompletionReply(
        frame(model, service.settings.name, "cmpl", seed),
        model.tokenizer,
        choices=fields.choices,
        with_logprobs=asked.logprobs is not None,
        with_usage=fields.include_usage,
    )
    if fields.stream:
        return StreamedReply(made, reply, **parts)
    return WholeReply(made, reply.whole, **parts)
