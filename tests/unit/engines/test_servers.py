"""What servers say of themselves, and what they can do by token ids."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qdeploy.engines.client import EngineClient
from qdeploy.engines.kinds import KINDS, OTHER
from qdeploy.engines.servers import ask, try_token_ids
from qdeploy.errors import InputError
from qdeploy.targets import Evidence
from tests.support.stub_engine import Reply, StubEngine, choice, like_vllm, models, told


@pytest.fixture
def client(stub: StubEngine) -> Iterator[EngineClient]:
    with EngineClient(stub.url) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_server_is_recognized_by_its_own_word(
    stub: StubEngine, client: EngineClient, kind: object
) -> None:
    assert kind in KINDS
    owner = next(row.owner for row in KINDS if row is kind)
    stub.replies["/v1/models"] = models("nano", owner=owner or "")
    server = ask(client)
    assert server.kind is kind
    assert (server.hardware, server.evidence) == (None, Evidence.NONE), "it names no hardware"
    assert "hardware that it does not name" in server.title


def test_a_server_that_does_not_name_itself_is_sent_openais_fields_only(
    stub: StubEngine, client: EngineClient
) -> None:
    stub.replies["/v1/models"] = models("nano", owner="someone")
    assert ask(client).kind is OTHER
    assert "top_k" not in OTHER.fields


def test_another_qdeploy_passes_its_proof_on(stub: StubEngine, client: EngineClient) -> None:
    stub.replies["/v1/models"] = models("nano", owner="qdeploy")
    about = {"version": "0.1.0", "device": "AMD EPYC", "evidence": "device"}
    stub.replies["/v1/qdeploy"] = told(about)
    server = ask(client)
    assert (server.hardware, server.evidence) == ("AMD EPYC", Evidence.DEVICE)
    assert server.title == "qdeploy 0.1.0 with nano, on AMD EPYC"
    stub.replies["/v1/qdeploy"] = told(about | {"evidence": "believe me"})
    assert ask(client).evidence is Evidence.NONE


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_of_several_models_is_named(stub: StubEngine, client: EngineClient, name: str) -> None:
    stub.replies["/v1/models"] = models("a", "b")
    assert ask(client, name).model.id == name
    with pytest.raises(InputError, match="2 models") as caught:
        ask(client)
    assert caught.value.fix == "name one with --endpoint-model: a, b"
    with pytest.raises(InputError, match="no model 'c'"):
        ask(client, "c")


def test_a_server_without_models_is_told(stub: StubEngine, client: EngineClient) -> None:
    stub.replies["/v1/models"] = models()
    with pytest.raises(InputError, match="has no model"):
        ask(client)


def test_token_ids_are_tried_once_with_log_probabilities(
    stub: StubEngine, client: EngineClient
) -> None:
    like_vllm(stub, [5])
    assert try_token_ids(client, ask(client)).logprobs == 20
    (asked,) = stub.bodies("/v1/completions")
    assert (asked["prompt"], asked["max_tokens"]) == ([0, 0], 1)


def test_a_server_may_refuse_log_probabilities(stub: StubEngine, client: EngineClient) -> None:
    stub.replies["/v1/models"] = models("nano")
    stub.replies["/v1/completions"] = lambda body: (
        told({"error": "too many logprobs"}, 400)
        if "logprobs" in body
        else told(choice(token_ids=[5]))
    )
    assert try_token_ids(client, ask(client)).logprobs is None


@pytest.mark.parametrize(
    "reply", [told(choice(text="hello")), told({"error": "only text"}, 400), told({"choices": []})]
)
def test_a_server_of_text_only_is_told_what_works(
    stub: StubEngine, client: EngineClient, reply: Reply
) -> None:
    stub.replies["/v1/models"] = models("nano", owner="library")
    stub.replies["/v1/completions"] = reply
    with pytest.raises(InputError, match="Ollama does not answer token ids") as caught:
        try_token_ids(client, ask(client))
    assert caught.value.fix is not None
    assert f"qdeploy run --endpoint {stub.url}/v1 PROMPT" in caught.value.fix
