"""Answers to requests by token ids."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.generation.prompt_logprobs import check_scored
from qdeploy.interface import Session
from qdeploy.serving.record import Record
from qdeploy.serving.reply import ResultReply, StreamedReply, WholeReply
from qdeploy.serving.service import Service
from qdeploy.serving.text import token_request
from qdeploy.serving.text.frame import frame
from qdeploy.serving.text.generate_fields import GenerateFields
from qdeploy.serving.text.token_reply import TokenReply, check_size, scored
from qdeploy.serving.text.token_request import TokenCompletion, TokenFields


async def answer(record: Record, body: Mapping[str, Any], service: Service) -> Response:
    """Answer the body of a request to /completions that is by token ids.

    Raises:
        ApiError: it cannot be served.
    """
    fields = token_request.parse(body, service.settings.limits)
    model = able_model(service, fields)
    if fields.scores:
        return _score(record, fields, service, model)

    seed = fields.drawn_seed()

    def prepare(session: Session, index: int) -> TokenCompletion:
        return TokenCompletion(fields, session, model.tokenizer, seed)

    works, made = await service.start(model.session, 1, prepare)
    parts = service.parts(record, works, made)
    reply = TokenReply(
        frame(model, service.settings.name, "cmpl", seed),
        with_logprobs=fields.logprobs is not None,
        with_usage=fields.include_usage,
    )
    if fields.stream:
        return StreamedReply(made, reply, **parts)
    return WholeReply(made, reply.whole, **parts)


def _score(record: Record, fields: TokenFields, service: Service, model: ChatModel) -> Response:
    """The log-probabilities of the whole vocabulary, at one place or at all."""
    whole = fields.prompt_logprobs is not None
    places = len(fields.prompt) if whole else 1
    check_scored(len(fields.prompt), model.session.limits.vocab_size)
    check_size(places, model.session.limits.vocab_size)
    head = frame(model, service.settings.name, "cmpl", 0)

    def source() -> Generator[bytes, None, None]:
        """Score and write, in the worker's thread: a million numbers take a second."""
        logits = model.session.score(fields.prompt)
        yield json.dumps(scored(head, fields.prompt, logits, whole=whole)).encode()

    def write(made: Sequence[bytes]) -> Response:
        return Response(made[0], media_type="application/json")

    return ResultReply(write, **service.start_one(record, source))


def able_model(service: Service, fields: GenerateFields) -> ChatModel:
    """The model, after a check that it is the right one, and able.

    Raises:
        ApiError: it is another one, or cannot do what is asked for.
    """
    service.check(fields.model, "generate")
    model = service.model
    assert isinstance(model, ChatModel)  # noqa: S101  # what the task says
    fields.check_able(model.session.limits)
    return model
