"""Many requests: first come, first served; too many are refused; who leaves, frees its place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qdeploy.bundle import Bundle
from tests.support.serving import QUESTION, Running, Script, chat_model, running, until


class Clients:
    """Requests in threads of their own."""

    def __init__(self, served: Running) -> None:
        self._served, self._threads = served, list[threading.Thread]()
        self.answers: dict[str, httpx.Response] = {}

    def ask(self, name: str, **fields: Any) -> None:
        """Ask, and come back when the server has the request."""
        queue = self._served.service.queue
        before = queue.running + queue.waiting

        def run() -> None:
            messages = [{"role": "user", "content": name}]
            self.answers[name] = self._served.chat(messages=messages, **fields)

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()
        until(lambda: queue.running + queue.waiting > before)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)


@pytest.fixture
def session() -> Script:
    made = Script("one", concurrency=2)
    made.hold = True
    return made


def finish(session: Script) -> None:
    """Let all go on to their ends."""
    session.hold = False
    session.go.release(100)


def test_as_many_run_as_the_model_serves_and_the_rest_waits_in_order(
    bundle: Bundle, session: Script
) -> None:
    model = chat_model(bundle, session)
    with running(model, concurrency=2, queue=3) as served:
        clients = Clients(served)
        for name in "abcde":
            clients.ask(name)
        until(lambda: session.begun == 2)
        assert (served.service.queue.running, served.service.queue.waiting) == (2, 3)
        finish(session)
        clients.join()
    assert [answer.status_code for answer in clients.answers.values()] == [200] * 5
    asked = [model.tokenizer.decode(request.prompt_ids) for request in session.requests]
    assert sorted(text.split()[1][0] for text in asked[:2]) == ["a", "b"]
    assert len(asked) == 5


def test_one_more_than_there_are_places_is_told_when_to_come_again(
    bundle: Bundle, session: Script
) -> None:
    with running(chat_model(bundle, session), concurrency=2, queue=1) as served:
        clients = Clients(served)
        for name in "abc":
            clients.ask(name)
        refused = served.chat()
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        finish(session)
        clients.join()
        assert served.chat().status_code == 200


def test_more_answers_at_once_than_there_are_places_can_never_be_served(bundle: Bundle) -> None:
    with running(chat_model(bundle, Script("4")), queue=1) as served:
        refused = served.chat(n=3)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
        assert served.chat(n=2).status_code == 200


def leave_before_the_answer(served: Running) -> Callable[[], None]:
    """Ask for a stream, and return what closes the connection."""
    client = httpx.Client(base_url=served.url, timeout=20)
    body = {"messages": QUESTION, "stream": True}
    stream = client.stream("POST", "/v1/chat/completions", json=body)
    response = stream.__enter__()
    next(response.iter_lines())

    def leave() -> None:
        stream.__exit__(None, None, None)
        client.close()

    return leave


def test_a_client_that_leaves_in_mid_stream_ends_its_generation(bundle: Bundle) -> None:
    session = Script("word " * 2000, concurrency=2)
    session.hold = True
    with running(chat_model(bundle, session), concurrency=2) as served:
        session.go.release(1)
        leave = leave_before_the_answer(served)
        assert served.service.queue.running == 1
        leave()

        def idle() -> bool:
            session.go.release(1)
            return served.service.queue.idle

        until(idle)
        assert session.given < 2000
        assert session.ended == 1
        aborted = 'finished_reason="abort",model_name="scripted"} 1.0'
        until(lambda: aborted in served.http.get("/metrics").text)
        finish(session)
        assert served.chat(max_tokens=2).status_code == 200


def test_a_client_that_leaves_while_it_waits_is_never_begun(
    bundle: Bundle, session: Script
) -> None:
    with running(chat_model(bundle, session), concurrency=1) as served:
        clients = Clients(served)
        clients.ask("a")
        until(lambda: session.begun == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{served.url}/v1/chat/completions", json={"messages": QUESTION}, timeout=0.2
            )
        until(lambda: served.service.queue.waiting == 0)
        finish(session)
        clients.join()
    assert session.begun == 1


def test_a_stopping_server_takes_nothing_new_and_ends_what_it_has(
    bundle: Bundle, session: Script
) -> None:
    with running(chat_model(bundle, session), concurrency=1) as served:
        clients = Clients(served)
        clients.ask("a")
        clients.ask("b")
        assert served.http.get("/ready").status_code == 200
        served.stop()
        until(lambda: served.http.get("/ready").status_code == 503)
        assert served.http.get("/health").status_code == 200
        refused = served.chat()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        finish(session)
        clients.join()
        assert [answer.status_code for answer in clients.answers.values()] == [200, 200]
        until(lambda: served.server.should_exit)


def test_what_does_not_end_in_time_is_cancelled_and_told_so(
    bundle: Bundle, session: Script
) -> None:
    with running(chat_model(bundle, session), concurrency=1, drain_seconds=0.05) as served:
        clients = Clients(served)
        clients.ask("a")
        until(lambda: session.begun == 1)
        served.stop()
        clients.join()
        finish(session)
    assert clients.answers["a"].status_code == 503
    assert clients.answers["a"].json()["error"]["code"] == "draining"


def test_a_second_signal_does_not_wait(bundle: Bundle, session: Script) -> None:
    with running(chat_model(bundle, session), concurrency=1, drain_seconds=1000) as served:
        clients = Clients(served)
        clients.ask("a")
        until(lambda: session.begun == 1)
        served.stop()
        served.stop()
        clients.join()
        until(lambda: served.server.should_exit)
        finish(session)
    assert clients.answers["a"].status_code == 503


def test_the_metrics_show_load_and_latencies(bundle: Bundle, session: Script) -> None:
    with running(chat_model(bundle, session), concurrency=1) as served:
        clients = Clients(served)
        clients.ask("a")
        clients.ask("b")
        until(lambda: session.begun == 1)
        text = served.http.get("/metrics").text
        assert 'qdeploy:num_requests_running{model_name="scripted"} 1.0' in text
        assert 'qdeploy:num_requests_waiting{model_name="scripted"} 1.0' in text
        finish(session)
        clients.join()
        lines = served.http.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    label = '{model_name="scripted"}'
    assert values[f"qdeploy:time_to_first_token_seconds_count{label}"] == "2.0"
    assert values[f"qdeploy:e2e_request_latency_seconds_count{label}"] == "2.0"
    assert values[f"qdeploy:request_queue_time_seconds_count{label}"] == "2.0"
    assert float(values[f"qdeploy:generation_tokens_total{label}"]) == 6
    ended = 'qdeploy:request_success_total{finished_reason="stop",model_name="scripted"}'
    assert values[ended] == "2.0"
    asked = 'qdeploy:http_requests_total{model_name="scripted",path="/v1/chat/completions",status="200"}'  # noqa: E501
    assert values[asked] == "2.0"
