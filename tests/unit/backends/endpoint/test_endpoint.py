"""The backend `endpoint`: a server's address as a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.backends.endpoint import EndpointBackend
from qdeploy.backends.endpoint.devices import ENDPOINT
from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.engines.faults import KEY_VARIABLE
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import LoadOptions, Request
from qdeploy.targets import Evidence
from tests.support.bundles import scripted_bundle
from tests.support.stub_engine import StubEngine, like_vllm, models, stub_engine

BACKEND = EndpointBackend()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return scripted_bundle(tmp_path / "bundle")


def test_without_an_address_the_target_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDEPLOY_ENDPOINT", raising=False)
    with pytest.raises(TargetUnavailable, match="no server is named") as caught:
        BACKEND.devices(ENDPOINT)
    assert caught.value.fix == "give --endpoint URL, or set QDEPLOY_ENDPOINT"


def test_the_environment_names_a_server(stub: StubEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    like_vllm(stub, [5])
    monkeypatch.setenv("QDEPLOY_ENDPOINT", stub.url)
    (device,) = BACKEND.devices(ENDPOINT)
    assert device.id == f"{stub.url}/v1"
    assert device.name == "vLLM 0.32.0 with nano, on hardware that it does not name"
    assert (device.driver, device.evidence) == ("0.32.0", Evidence.NONE)


def test_a_server_that_does_not_answer_is_absent() -> None:
    with stub_engine() as stub:
        url = stub.url
    with pytest.raises(TargetUnavailable, match="no engine answers"):
        BACKEND.device_at(ENDPOINT, url)


def test_an_address_names_the_target_and_the_model(stub: StubEngine, bundle: Bundle) -> None:
    like_vllm(stub, [5, 6, 7])
    stub.replies["/v1/models"] = models("a", "b", max_model_len=512)
    choice = run.choose(bundle, device=f"{stub.url}#b")
    assert (choice.target.name, choice.backend.name) == ("endpoint", "endpoint")
    assert choice.device.id == f"{stub.url}/v1#b"
    with run.load(bundle, choice) as session:
        assert session.context == 512, "the server's is the shorter one"
        made = [token.id for token in session.generate(Request((1, 2), 9))]
        placement = session.placement()
    assert made == [5, 6, 7]
    assert {body["model"] for body in stub.bodies("/v1/completions")} == {"b"}
    assert placement.evidence is Evidence.NONE
    assert placement.proof == f"the server's own word at {stub.url}/v1/models"


def test_the_key_of_the_environment_is_sent_and_kept_to_itself(
    stub: StubEngine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    like_vllm(stub, [5])
    monkeypatch.setenv(KEY_VARIABLE, "very-secret")
    choice = run.choose(bundle, device=stub.url)
    with run.load(bundle, choice) as session:
        assert "very-secret" not in f"{choice}{session.placement()}{session.__dict__}"
    assert {asked.headers["Authorization"] for asked in stub.asked} == {"Bearer very-secret"}


def test_as_many_requests_as_are_wanted_run_at_once(stub: StubEngine, bundle: Bundle) -> None:
    like_vllm(stub, [5, 6])
    choice = run.choose(bundle, device=stub.url)
    with run.load(bundle, choice, concurrency=2) as session:
        first, second = (session.generate(Request((1,), 2)) for _ in range(2))
        assert [next(first).id, next(second).id] == [5, 5]
        assert [t.id for t in first] == [t.id for t in second] == [6]


def test_a_longer_context_than_the_servers_is_refused(stub: StubEngine, bundle: Bundle) -> None:
    like_vllm(stub, [5], context=100)
    choice = run.choose(bundle, device=stub.url)
    with pytest.raises(InputError, match="the server holds 100") as caught:
        choice.backend.load(bundle, choice.device, LoadOptions(context=200))
    assert caught.value.fix == "--context 100, or restart the server with a longer one"
