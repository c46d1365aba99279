"""Routes of models that embed and that rerank."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Request
from pydantic import BeforeValidator, Field, PlainValidator
from starlette.responses import JSONResponse, Response

from qdeploy.deploy.loaded_models.embedding import Embedder
from qdeploy.deploy.loaded_models.reranking import Reranker, probabilities
from qdeploy.serving.errors import about, invalid
from qdeploy.serving.fields import IN_ENCODINGS, Checked, check, texts_or_ids
from qdeploy.serving.record import Record
from qdeploy.serving.reply import ResultReply
from qdeploy.serving.service import Service

if TYPE_CHECKING:
    from qdeploy.deploy.loaded_models.encoder import Vectors

EMBEDDINGS = "/v1/embeddings"
RERANK = ("/v1/rerank", "/rerank", "/v2/rerank")
"""vLLM's routes for the API of Jina and Cohere."""
AT_ONCE = 64
"""Texts between two looks at whether the client is still there; they are sorted by length."""


class EmbeddingFields(Checked):
    """Fields of a request to embed."""

    inputs: Annotated[list[str | list[int]], PlainValidator(texts_or_ids)] = Field(alias="input")
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    prompt_name: str | None = None


def _texts(documents: object) -> object:
    """The documents, of which some may be objects with a text and more, as Cohere's API has it."""
    if not isinstance(documents, list):
        return documents
    return [d.get("text") if isinstance(d, dict) else d for d in documents]


class RerankFields(Checked):
    """Fields of a request to rerank."""

    query: str
    documents: Annotated[list[str], BeforeValidator(_texts), Field(min_length=1)]
    model: str | None = None
    top_n: Annotated[int, Field(ge=0)] | None = None
    return_documents: bool | None = None
    instruction: str | None = None


def add(app: FastAPI, service: Service) -> None:
    """Add the routes to *app*."""

    @app.post(EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        return await _embed(request, service)

    async def rerank(request: Request) -> Response:
        return await _rerank(request, service)

    for path in RERANK:
        app.post(path)(rerank)


async def _embed(request: Request, service: Service) -> Response:
    record = Record.of(request.scope)
    record.route = EMBEDDINGS
    fields = check(EmbeddingFields, await service.body(request), IN_ENCODINGS)
    service.check(fields.model, "embed")
    _check_count("input", len(fields.inputs), service)
    model = service.model
    assert isinstance(model, Embedder)  # noqa: S101  # what the task says
    with about("dimensions"):
        model.check_dimensions(fields.dimensions)

    def work() -> Generator[tuple[Vectors, int], None, None]:
        texts = [text for text in fields.inputs if isinstance(text, str)]
        made = iter(model.token_ids(texts, prompt_name=fields.prompt_name))
        ids = [next(made) if isinstance(text, str) else text for text in fields.inputs]
        for part in _parts(ids):
            vectors = model.shorten(model.encode(part), fields.dimensions)
            yield vectors, sum(map(len, part))

    def reply(parts: Sequence[tuple[Vectors, int]]) -> Response:
        tokens = record.prompt_tokens = sum(count for _, count in parts)
        vectors = [vector for made, _ in parts for vector in made]
        write = _in_base64 if fields.encoding_format == "base64" else _as_floats
        data = [
            {"object": "embedding", "index": i, "embedding": write(vector)}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        name = service.settings.name
        return JSONResponse({"object": "list", "data": data, "model": name, "usage": usage})

    return ResultReply(reply, **service.start_one(record, work))


async def _rerank(request: Request, service: Service) -> Response:
    record = Record.of(request.scope)
    record.route = RERANK[0]
    fields = check(RerankFields, await service.body(request), IN_ENCODINGS)
    service.check(fields.model, "rerank")
    _check_count("documents", len(fields.documents), service)
    model, documents = service.model, fields.documents
    assert isinstance(model, Reranker)  # noqa: S101  # what the task says

    def work() -> Generator[tuple[Vectors, int], None, None]:
        for part in _parts(
            model.token_ids(fields.query, documents, instruction=fields.instruction)
        ):
            yield probabilities(model.encode(part)), sum(map(len, part))

    def reply(parts: Sequence[tuple[Vectors, int]]) -> Response:
        tokens = record.prompt_tokens = sum(count for _, count in parts)
        scores = [score for made, _ in parts for score in made.tolist()]
        best = sorted(range(len(scores)), key=lambda i: -scores[i])[: fields.top_n or None]
        results: list[dict[str, Any]] = [{"index": i, "relevance_score": scores[i]} for i in best]
        if fields.return_documents is not False:
            results = [r | {"document": {"text": documents[r["index"]]}} for r in results]
        return JSONResponse(
            {
                "id": f"rerank-{secrets.token_hex(16)}",
                "model": service.settings.name,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "results": results,
            }
        )

    return ResultReply(reply, **service.start_one(record, work))


def _check_count(name: str, count: int, service: Service) -> None:
    most = service.settings.limits.texts
    if count > most:
        raise invalid(name, f"{count} texts, and the limit is {most}")


def _parts(ids: Sequence[list[int]]) -> Generator[Sequence[list[int]], None, None]:
    for begin in range(0, len(ids), AT_ONCE):
        yield ids[begin : begin + AT_ONCE]


def _as_floats(vector: Vectors) -> list[float]:
    found: list[float] = vector.tolist()
    return found


def _in_base64(vector: Vectors) -> str:
    """The bytes of float32 numbers, lowest byte first, as OpenAI's client asks for them."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
