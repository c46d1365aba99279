"""Tool calls in an answer, over a runtime whose tokens are scripted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.generation.generate import Generation
from qdeploy.generation.pieces import tool_calls
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import NANO, answer, joined, script
from tests.support.scripted import ScriptedSession
from tests.support.tools import SUM, TOOLS, call, coder, without_tags, xml_call


def answered(text: str, *, tokenizer: Tokenizer = NANO, **settings: Any) -> Generation:
    """Answer with *text*; the answer streamed must be the whole one."""
    session = ScriptedSession([*tokenizer.encode(text), *tokenizer.encode("<|im_end|>")])
    settings = {"tools": TOOLS} | settings
    generation, pieces = answer(session, tokenizer=tokenizer, **settings)
    assert joined(pieces, "content") == generation.text
    assert tool_calls(pieces) == generation.tool_calls
    return generation


def calls_of(text: str, **settings: Any) -> list[tuple[str, Any]]:
    """Return the calls of an answer: names, and arguments as JSON values."""
    return [(c.name, json.loads(c.arguments)) for c in answered(text, **settings).tool_calls]


class TestWhole:
    def test_a_call_is_told_apart_from_the_text_before_it(self) -> None:
        generation = answered(f"Let me add.\n{call()}")
        assert generation.text == "Let me add."
        assert [(c.name, json.loads(c.arguments)) for c in generation.tool_calls] == [("add", SUM)]
        assert generation.finish_reason == "tool_calls"

    def test_several_calls_have_ids_of_their_own(self) -> None:
        generation = answered(f"{call()}\n{call('say', text='hi')}\n{call()}")
        ids = [c.id for c in generation.tool_calls]
        assert [c.name for c in generation.tool_calls] == ["add", "say", "add"]
        assert len(set(ids)) == 3
        assert all(each.startswith("call_") for each in ids)
        assert generation.text == ""

    def test_text_after_a_call_is_content(self) -> None:
        generation = answered(f"a\n{call()}\nb")
        assert generation.text == "a\n\nb"
        assert len(generation.tool_calls) == 1

    def test_a_call_after_the_thinking_is_one_and_within_it_is_none(self) -> None:
        generation = answered(
            f"<think>\nI may write {call('say', text='x')}.\n</think>\n\n{call()}"
        )
        assert [c.name for c in generation.tool_calls] == ["add"]
        assert call("say", text="x") in generation.thinking
        assert generation.text == ""

    def test_an_answer_without_a_call_ends_as_usual(self) -> None:
        generation = answered("4\n")
        assert (generation.text, generation.finish_reason) == ("4\n", "stop")
        assert generation.tool_calls == ()

    def test_a_function_that_was_not_offered_is_named_as_the_model_wrote_it(self) -> None:
        assert calls_of(call("subtract", a=1)) == [("subtract", {"a": 1})]

    def test_without_parallel_calls_the_answer_ends_after_the_first(self) -> None:
        session = ScriptedSession(script(f"{call()}\n{call()}\nmore"))
        generation, _ = answer(session, tools=TOOLS, parallel_tool_calls=False)
        assert len(generation.tool_calls) == 1
        assert (generation.text, generation.finish_reason) == ("", "tool_calls")
        assert session.closed_early == 1

    @pytest.mark.parametrize("settings", [{"tools": ()}, {"tool_choice": "none"}], ids=str)
    def test_where_no_call_is_wanted_the_tags_are_text(self, settings: dict[str, Any]) -> None:
        generation = answered(call(), **settings)
        assert (generation.text, generation.tool_calls) == (call(), ())
        assert generation.finish_reason == "stop"


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"a": {"b": [1, {"c": "}"}]}, "d": "{["},
            {"text": "in </tool_call> a string"},
            {"text": "<tool_call>{}</tool_call></tool_call>"},
            {"text": 'quotes \\" and \\\\ and "'},
            {"text": "</think> <think>"},
            {"text": "汉字 🚀 \n\t"},
            {},
        ],
        ids=str,
    )
    def test_any_json_comes_as_it_is(self, arguments: dict[str, Any]) -> None:
        body = json.dumps({"name": "say", "arguments": arguments}, ensure_ascii=False)
        text = f"<tool_call>\n{body}\n</tool_call>"
        assert calls_of(text) == [("say", arguments)]
        assert calls_of(f"{text}\n{call()}") == [("say", arguments), ("add", SUM)]

    @pytest.mark.parametrize(
        "body",
        [
            '{"arguments": {"a": 1, "b": 2}, "name": "add"}',
            '{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}',
            ' {"id": 7, "name":"add","arguments":{"a":1,"b":2}}\n\n',
            '{"name": "add", "arguments": {"a": 1, "b": 2}, "why": {"x": "}"}}',
            '{"name": "add", "arguments": {"a": 1, "b": 2}}}',
            '{"name": "add", "arguments": {"a": 1, "b": 2}',
            '{"name": "\\u0061dd", "arguments": {"a": 1, "b": 2}}',
        ],
    )
    def test_other_ways_to_write_a_call_are_understood(self, body: str) -> None:
        assert calls_of(f"<tool_call>{body}</tool_call>") == [("add", SUM)]

    def test_line_breaks_in_strings_are_escaped(self) -> None:
        text = '<tool_call>{"name": "say", "arguments": {"text": "a\nb\tc"}}</tool_call>'
        assert calls_of(text) == [("say", {"text": "a\nb\tc"})]

    def test_a_call_without_arguments_has_none(self) -> None:
        assert calls_of('<tool_call>{"name": "add"}</tool_call>') == [("add", {})]

    def test_a_missing_closing_tag_is_made_up_for(self) -> None:
        unclosed = call().removesuffix("\n</tool_call>")
        assert calls_of(unclosed) == [("add", SUM)]
        assert calls_of(f"{unclosed}\n{call()}") == [("add", SUM), ("add", SUM)]

    def test_text_behind_a_call_within_its_tags_is_content(self) -> None:
        generation = answered('<tool_call>{"name": "add", "arguments": {}} and so on</tool_call>')
        assert (generation.text, len(generation.tool_calls)) == (" and so on", 1)


class TestMistakes:
    @pytest.mark.parametrize(
        "arguments", ['{"a": }', '{"a": 1 "b"}', '{"a": tru}', '{"a": "x}', '{"a": [1}', "{'a': 1}"]
    )
    def test_broken_arguments_are_told_as_they_are(self, arguments: str) -> None:
        broken = f'<tool_call>{{"name": "add", "arguments": {arguments}}}</tool_call>'
        generation = answered(f"{broken}\n{call()}")
        first, second = generation.tool_calls
        assert first.arguments.startswith(arguments)
        with pytest.raises(json.JSONDecodeError):
            json.loads(first.arguments)
        assert json.loads(second.arguments) == SUM
        assert (generation.text, generation.finish_reason) == ("", "tool_calls")

    @pytest.mark.parametrize(
        "body", ["", "add(1, 2)", '{"nome": "add"}', "[1, 2]", '{"name": 1}', "}", '"', "{" * 5000]
    )
    def test_a_call_that_names_no_function_is_text(self, body: str) -> None:
        text = f"<tool_call>{body}</tool_call>"
        generation = answered(f"a {text} b", max_new_tokens=4000)
        if generation.finish_reason == "stop":
            assert generation.text == f"a {text} b"
        assert generation.tool_calls == ()

    def test_a_closing_tag_alone_is_left_out(self) -> None:
        assert answered("a</tool_call>b").text == "ab"


class TestLength:
    def test_a_call_that_is_cut_is_never_whole(self) -> None:
        text = f"Sum:\n{call()}"
        tokens = NANO.encode(text)
        for most in range(1, len(tokens) + 1):
            session = ScriptedSession(script(text))
            generation, _ = answer(session, tools=TOOLS, max_new_tokens=most)
            assert generation.finish_reason == "length"
            assert "Sum:\n".startswith(generation.text)
            whole = "}}" in NANO.decode(tokens[:most])
            for each in generation.tool_calls:
                if not whole:
                    with pytest.raises(json.JSONDecodeError):
                        json.loads(each.arguments)
            assert not whole or json.loads(generation.tool_calls[0].arguments) == SUM

    def test_an_answer_cut_in_mid_thinking_has_no_content(self) -> None:
        session = ScriptedSession(script(f"<think>{call()}</think>{call()}"))
        generation, _ = answer(session, tools=TOOLS, max_new_tokens=6)
        assert (generation.text, generation.tool_calls) == ("", ())
        assert generation.finish_reason == "length"


class TestInTags:
    """As Qwen3-Coder writes calls."""

    def test_values_get_the_types_of_the_schema(self, tmp_path: Path) -> None:
        text = f"Fine.\n{xml_call(a='1', b='2')}\n{xml_call('say', text='12')}"
        generation = answered(text, tokenizer=coder(tmp_path))
        assert [(c.name, json.loads(c.arguments)) for c in generation.tool_calls] == [
            ("add", SUM), ("say", {"text": "12"}),
        ]  # fmt: skip
        assert (generation.text, generation.finish_reason) == ("Fine.", "tool_calls")

    @pytest.mark.parametrize(
        ("schema", "text", "value"),
        [
            ({}, "1", "1"),
            ({"type": "number"}, "1.5", 1.5),
            ({"type": "integer"}, "many", "many"),
            ({"type": "boolean"}, "True", True),
            ({"type": ["integer", "null"]}, "null", None),
            ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "1", "1"),
            ({"type": "array"}, '[1, "a"]', [1, "a"]),
            ({"type": "object"}, '{"x": {}}', {"x": {}}),
            ({"type": "string"}, "two\n\nlines\n", "two\n\nlines\n"),
            ({"type": "string"}, "a </tool_call> and <parameter=x> b", None),
            ({"type": "string"}, "", ""),
        ],
        ids=str,
    )
    def test_every_type(self, schema: Any, text: str, value: Any, tmp_path: Path) -> None:
        function = {"name": "f", "parameters": {"type": "object", "properties": {"p": schema}}}
        tools = ({"type": "function", "function": function},)
        value = text if value is None and "null" not in str(schema) else value
        tokenizer = coder(tmp_path)
        assert calls_of(xml_call("f", p=text), tokenizer=tokenizer, tools=tools) == [
            ("f", {"p": value})
        ]

    def test_a_function_may_take_nothing(self, tmp_path: Path) -> None:
        assert calls_of(xml_call("f"), tokenizer=coder(tmp_path)) == [("f", {})]

    def test_tags_that_are_not_closed_are_made_up_for(self, tmp_path: Path) -> None:
        text = "<tool_call>\n<function=say>\n<parameter=text>\nhi\n</tool_call>"
        assert calls_of(text, tokenizer=coder(tmp_path)) == [("say", {"text": "hi"})]

    def test_json_in_place_of_parameters_is_told_as_it_is(self, tmp_path: Path) -> None:
        text = '<tool_call><function=add>{"a": 1, "b": 2}</function></tool_call>'
        [only] = answered(text, tokenizer=coder(tmp_path)).tool_calls
        assert only.arguments.startswith('{"a": 1, "b": 2}')


def test_tags_are_found_in_text_where_they_are_no_tokens(tmp_path: Path) -> None:
    tokenizer = without_tags(tmp_path)
    assert len(tokenizer.encode("</think>")) > 1
    text = f"<think>\nHm <tool_ <\n</think>\n\nSo <tool_: \n{call()}"
    generation = answered(text, tokenizer=tokenizer)
    assert generation.thinking == "Hm <tool_ <"
    assert generation.text == "So <tool_: "
    assert [c.name for c in generation.tool_calls] == ["add"]
