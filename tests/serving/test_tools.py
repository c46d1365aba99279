"""Tool calls over HTTP, as OpenAI's own client puts them together, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from qdeploy.bundle import Bundle
from tests.support.serving import NAME, QUESTION, Running, Script, chat_model, running
from tests.support.tools import SAY, call, tool

openai = pytest.importorskip("openai")

TOOLS = [tool("look"), SAY]
NESTED = {"where": {"city": "北京"}, "note": "no </tool_call> here, and no <think>"}


@dataclass(frozen=True)
class Served:
    """A server, OpenAI's client of it, and what the server says."""

    running: Running
    client: Any
    session: Script


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Served]:
    session = Script("")
    with (
        running(chat_model(bundle, session)) as found,
        openai.OpenAI(base_url=f"{found.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield Served(found, client, session)


def ask(served: Served, script: str, *, stream: bool, **fields: Any) -> dict[str, Any]:
    """What the client makes of an answer: content, reasoning, calls and finish reason."""
    served.session.say(script)
    asked = {"model": NAME, "messages": QUESTION, "tools": TOOLS} | fields
    if not stream:
        [choice] = served.client.chat.completions.create(**asked).choices
        message = choice.message
        return {
            "content": message.content or "",
            "reasoning": message.reasoning_content or "",
            "calls": [
                (c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ()
            ],
            "reason": choice.finish_reason,
        }
    found: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    for chunk in served.client.chat.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        found["content"] += choice.delta.content or ""
        found["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
        for part in choice.delta.tool_calls or ():
            if part.id:
                assert part.index == len(found["calls"])
                found["calls"].append((part.id, part.function.name, ""))
            known = found["calls"][part.index]
            found["calls"][part.index] = (*known[:2], known[2] + part.function.arguments)
        found["reason"] = choice.finish_reason
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
class TestCalls:
    def test_several_calls_after_the_thinking(self, served: Served, stream: bool) -> None:
        script = f"<think>\nI look.\n</think>\n\n{call('look', **NESTED)}\n{call('say', text='')}"
        found = ask(served, script, stream=stream)
        assert (found["content"], found["reasoning"]) == ("", "I look.")
        assert [name for _, name, _ in found["calls"]] == ["look", "say"]
        assert [json.loads(arguments) for *_, arguments in found["calls"]] == [NESTED, {"text": ""}]
        assert len({call_id for call_id, *_ in found["calls"]}) == 2
        assert found["reason"] == "tool_calls"

    def test_text_before_a_call_is_content(self, served: Served, stream: bool) -> None:
        found = ask(served, f"Wait.\n{call('look', a=1)}", stream=stream)
        assert found["content"].strip() == "Wait."
        assert len(found["calls"]) == 1

    def test_a_call_in_the_thinking_is_a_thought(self, served: Served, stream: bool) -> None:
        found = ask(served, f"<think>{call('look')}</think>No.", stream=stream)
        assert (found["content"], found["calls"], found["reason"]) == ("No.", [], "stop")
        assert "look" in found["reasoning"]

    def test_no_tags_leak_into_the_content(self, served: Served, stream: bool) -> None:
        script = f"<think>a < b</think>1 < 2{call('say', text='<')}"
        found = ask(served, script, stream=stream)
        assert found["content"].strip() == "1 < 2"
        assert found["reasoning"] == "a < b"

    def test_without_a_choice_of_tools_there_is_no_call(self, served: Served, stream: bool) -> None:
        found = ask(served, call("look"), stream=stream, tool_choice="none")
        assert (found["calls"], found["reason"]) == ([], "stop")

    def test_only_one_call_where_they_may_not_be_parallel(
        self, served: Served, stream: bool
    ) -> None:
        script = call("look") + "\n" + call("say")
        found = ask(served, script, stream=stream, parallel_tool_calls=False)
        assert [name for _, name, _ in found["calls"]] == ["look"]
        assert found["reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0]", "names no function"),
        ({"tool_choice": {"type": "function", "function": {"name": "fly"}}}, None, "'fly'"),
        ({"tools": [], "tool_choice": "required"}, None, "there are no tools"),
        ({"tool_choice": "always"}, "tool_choice", ""),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages[0]", "image_url"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_offered_or_read_is_refused(
    served: Served, fields: dict[str, Any], param: str | None, says: str
) -> None:
    response = served.running.chat(**({"tools": TOOLS} | fields))
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert says in error["message"]
    assert (error["param"] or "").startswith(param or "")
