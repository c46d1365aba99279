"""OpenAI's own client, with real models in servers of their own."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.real import QDEPLOY, qdeploy
from tests.support.serve_process import SECONDS, ServeProcess

openai = pytest.importorskip("openai")
pytest.importorskip("openvino_genai")
pytest.importorskip("onnxruntime_genai")

pytestmark = pytest.mark.slow
MODEL = "qwen3-nano"
SUM = [{"role": "user", "content": "What is 12 + 30?"}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


def client(folder: Path, backend: str, *options: str) -> Iterator[Any]:
    """Export qwen3-nano, serve it, and give a client."""
    bundle = str(folder / "nano")
    done = qdeploy("export", MODEL, "--target", "cpu", "--backend", backend, "-o", bundle)
    assert done.returncode == 0, done.stderr
    line = [*QDEPLOY, "serve", bundle, "--port", "0", *options]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with ServeProcess(process) as server:
        with openai.OpenAI(
            base_url=f"{server.url}/v1", api_key="none", timeout=SECONDS, max_retries=0
        ) as found:
            yield found
        code, _, log = server.stop()
        assert code == 0, log
        assert "Traceback" not in log


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """onnxruntime: log-probabilities and schemas."""
    yield from client(tmp_path_factory.mktemp("onnx"), "onnxruntime", "--concurrency", "1")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """openvino: several requests at once."""
    yield from client(tmp_path_factory.mktemp("openvino"), "openvino", "--concurrency", "4")


def chat(client: Any, **fields: Any) -> Any:
    return client.chat.completions.create(
        **{"model": MODEL, "messages": SUM, "temperature": 0} | fields
    )


def joined(stream: Any, name: str) -> str:
    return "".join(
        getattr(choice.delta, name, None) or "" for chunk in stream for choice in chunk.choices
    )


def test_thinking_and_answer(one_by_one: Any) -> None:
    [choice] = chat(one_by_one).choices
    assert (choice.message.content, choice.finish_reason) == ("42", "stop")
    assert "carry" in choice.message.reasoning_content
    assert choice.message.reasoning_content == choice.message.reasoning


def test_a_stream_is_the_whole_answer_of_its_seed(one_by_one: Any) -> None:
    for temperature in (0, 1.5):
        [choice] = chat(one_by_one, seed=3, temperature=temperature, max_tokens=60).choices
        stream = list(chat(one_by_one, seed=3, temperature=temperature, max_tokens=60, stream=True))
        assert joined(stream, "content") == choice.message.content
        assert joined(stream, "reasoning_content") == (choice.message.reasoning_content or "")
        assert stream[-1].choices[0].finish_reason == choice.finish_reason


def test_log_probabilities(one_by_one: Any) -> None:
    [choice] = chat(one_by_one, logprobs=True, top_logprobs=3).choices
    told = choice.logprobs.content
    assert "".join(token.token for token in told).startswith("42")
    for token in told:
        assert bytes(token.bytes).decode() == token.token
        assert len(token.top_logprobs) == 3
        assert token.logprob <= token.top_logprobs[0].logprob <= 0


def test_an_answer_keeps_to_its_schema(one_by_one: Any) -> None:
    schema = {
        "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
        "additionalProperties": False,
    }  # fmt: skip
    [choice] = chat(
        one_by_one,
        max_tokens=300,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    ).choices
    assert choice.finish_reason == "stop"
    assert isinstance(json.loads(choice.message.content)["sum"], int)
    assert "carry" in choice.message.reasoning_content  # the schema begins after the thinking


def test_a_tool_that_has_to_be_called_is_called(one_by_one: Any) -> None:
    """The embedded model is trained for no tools, so the schema alone makes the call."""
    fields = {
        "tools": [ADD],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "extra_body": {"enable_thinking": False},
        "max_tokens": 200,
    }
    [choice] = chat(one_by_one, **fields).choices
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "add")
    assert set(json.loads(call.function.arguments)) == {"a", "b"}
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    parts = [
        part
        for chunk in chat(one_by_one, stream=True, **fields)
        for part in chunk.choices[0].delta.tool_calls or ()
    ]
    assert parts[0].id.startswith("call_")
    assert parts[0].function.name == "add"
    assert [part.id for part in parts[1:]] == [None] * (len(parts) - 1)
    assert "".join(p.function.arguments for p in parts) == call.function.arguments


def test_a_tools_result_goes_back_into_the_chat(one_by_one: Any) -> None:
    function = {"name": "add", "arguments": '{"a": 12, "b": 30}'}
    call = {"id": "call_1", "type": "function", "function": function}
    messages = [
        *SUM,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    assert chat(one_by_one, messages=messages, tools=[ADD], max_tokens=8).usage.prompt_tokens > 100


def test_completions_and_models(one_by_one: Any) -> None:
    text = one_by_one.completions.create(model=MODEL, prompt="1 2 3", max_tokens=4, temperature=0)
    assert text.usage.completion_tokens == 4
    assert [model.id for model in one_by_one.models.list()] == [MODEL]


def test_errors_are_the_clients_own(one_by_one: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        chat(one_by_one, model="gpt-4")
    with pytest.raises(openai.BadRequestError, match="logit_bias") as caught:
        chat(one_by_one, logit_bias={"1": 1})
    assert caught.value.param == "logit_bias"


def test_many_at_once_each_get_their_own_answer(many: Any) -> None:
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        question = [{"role": "user", "content": f"What is {number} + 30?"}]
        stream = chat(many, messages=question, stream=True)
        found[number] = joined(stream, "content")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(11, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == {number: str(number + 30) for number in range(11, 21)}


def test_several_answers_to_one_question(many: Any) -> None:
    loose = {"top_k": 0, "min_p": 0}
    choices = chat(
        many, n=3, temperature=5.0, top_p=1, seed=1, max_tokens=20, extra_body=loose
    ).choices
    assert [choice.index for choice in choices] == [0, 1, 2]
    assert len({choice.message.content for choice in choices}) == 3
