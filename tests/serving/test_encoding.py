"""Embeddings and reranking over HTTP, with a scripted encoder."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import qdeploy
from qdeploy.deploy.loaded_models.embedding import Embedder
from qdeploy.deploy.loaded_models.reranking import Reranker
from qdeploy.deploy.run import Choice
from qdeploy.interface import Device
from qdeploy.serving.settings import Limits
from tests.support.encoding import QUERY, write_embedding, write_reranker
from tests.support.scripted import HERE, ScriptedBackend
from tests.support.scripted_encoder import WIDTH, ScriptedEncoder
from tests.support.serving import Running, running

CHOICE = Choice(HERE, ScriptedBackend(), Device("SCRIPT:0", "script 0", HERE.name))
PROFILE = "cpu-int4-openvino"  # it is written without a runtime
LIMITS = Limits(texts=100)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("embedding")
    model = write_embedding(place / "model")
    bundle = qdeploy.export(model, target="cpu", profile=PROFILE, output=place / "bundle")
    with running(Embedder(bundle, CHOICE, ScriptedEncoder(context=200)), limits=LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def reranking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("reranking")
    model = write_reranker(place / "model")
    bundle = qdeploy.export(model, target="cpu", profile=PROFILE, output=place / "bundle")
    with running(Reranker(bundle, CHOICE, ScriptedEncoder(context=500))) as found:
        yield found


def embed(served: Running, **fields: Any) -> Any:
    response = served.http.post("/v1/embeddings", json=fields)
    assert response.status_code == 200, response.text
    return response.json()


def test_each_text_has_its_vector_in_order(embedding: Running) -> None:
    texts = [f"text {'x ' * (i % 7)}" for i in range(80)]
    answer = embed(embedding, input=texts, model="scripted")
    model = embedding.service.model
    wanted = model.embed(texts)
    assert [item["index"] for item in answer["data"]] == list(range(80))
    np.testing.assert_array_equal([item["embedding"] for item in answer["data"]], wanted)
    assert (answer["object"], answer["data"][0]["object"]) == ("list", "embedding")
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 80


def test_one_text_and_its_token_ids_are_the_same(embedding: Running) -> None:
    model = embedding.service.model
    assert isinstance(model, Embedder)
    [ids] = model.token_ids(["hello"])
    [text] = embed(embedding, input="hello")["data"]
    for given in (ids, [ids]):
        assert embed(embedding, input=given)["data"] == [text]


def test_base64_holds_the_same_float32(embedding: Running) -> None:
    [plain] = embed(embedding, input="hello")["data"]
    [coded] = embed(embedding, input="hello", encoding_format="base64")["data"]
    found = np.frombuffer(base64.b64decode(coded["embedding"]), "<f4")
    np.testing.assert_array_equal(found, np.asarray(plain["embedding"], np.float32))


def test_dimensions_and_prompts(embedding: Running) -> None:
    [short] = embed(embedding, input="hello", dimensions=WIDTH - 1)["data"]
    assert len(short["embedding"]) == WIDTH - 1
    [query] = embed(embedding, input="hello", prompt_name="query")["data"]
    assert [query] == embed(embedding, input=f"{QUERY}hello")["data"]


def test_openais_client_reads_the_vectors(embedding: Running) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{embedding.url}/v1", api_key="none") as client:
        found = client.embeddings.create(model="scripted", input=["hello"])
    [plain] = embed(embedding, input="hello")["data"]
    assert found.data[0].embedding == pytest.approx(plain["embedding"])


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({}, "input", "required"),
        ({"input": []}, "input", "one or more"),
        ({"input": "x", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": "x", "dimensions": 99}, "dimensions", "99 dimensions"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "base64"),
        ({"input": "x", "prompt_name": "poem"}, None, "no prompt 'poem'"),
        ({"input": ["x"] * 101}, "input", "limit is 100"),
        ({"input": "x", "truncate_prompt_tokens": 5}, "truncate_prompt_tokens", "not supported"),
        ({"input": "word " * 300}, None, "tokens"),
        ({"input": [[]]}, None, "empty"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_to_embed_that_is_refused(
    embedding: Running, fields: dict[str, Any], param: str | None, says: str
) -> None:
    response = embedding.http.post("/v1/embeddings", json=fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert says in error["message"]
    assert "--" not in error["message"], "clients have no options of the command line"
    assert param in (error["param"], None)


@pytest.mark.parametrize("route", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_documents_come_best_first(reranking: Running, route: str) -> None:
    documents = ["b", "a longer one", {"text": "c d e f"}]
    body = {"query": "q", "documents": documents, "model": "scripted"}
    answer = reranking.http.post(route, json=body).json()
    texts = ["b", "a longer one", "c d e f"]
    wanted = {r.index: r.score for r in reranking.service.model.rerank("q", texts)}
    found = {r["index"]: r["relevance_score"] for r in answer["results"]}
    assert found == wanted
    scores = [r["relevance_score"] for r in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert [r["document"]["text"] for r in answer["results"]] == [texts[i] for i in found]
    assert answer["usage"]["total_tokens"] > 0


def test_the_best_ones_without_their_texts(reranking: Running) -> None:
    body = {"query": "q", "documents": ["a", "b b"], "top_n": 1, "return_documents": False}
    [result] = reranking.http.post("/rerank", json=body).json()["results"]
    assert set(result) == {"index", "relevance_score"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": [{"title": "x"}]}, "documents[0]"),
        ({"query": ["q"], "documents": ["x"]}, "query"),
        ({"query": "q", "documents": ["x"], "top_n": -1}, "top_n"),
    ],
)
def test_a_request_to_rerank_that_is_refused(
    reranking: Running, fields: dict[str, Any], param: str
) -> None:
    response = reranking.http.post("/v1/rerank", json=fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
def test_a_model_that_embeds_does_not_chat(embedding: Running, route: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "prompt": "x"}
    response = embedding.http.post(route, json=body)
    assert response.status_code == 400
    assert "its route is /v1/embeddings" in response.json()["error"]["message"]


def test_a_runtime_that_fails_once_is_asked_again(
    embedding: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdeploy.errors import GenerationFailed

    def broken(*_: Any) -> Any:
        raise GenerationFailed("it broke")

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedEncoder, "_encode", broken)
        assert embedding.http.post("/v1/embeddings", json={"input": "x"}).status_code == 500
        assert embedding.http.get("/ready").status_code == 503
    assert embedding.http.get("/ready").status_code == 200
