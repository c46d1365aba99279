"""Answers that are bound: to a tool call, or to a JSON schema, once the thinking is over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import InputError
from qdeploy.generation.generate import Generation
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import EARLY_STOP, NANO, always_thinking, answer, script, thoughts
from tests.support.scripted import ScriptedSession
from tests.support.tools import ADD, SUM, TOOLS, call, coder

SCHEMA = '{"type": "object"}'
NAMED = {"type": "function", "function": {"name": "add"}}
BEGUN = '<tool_call>\n{"name": "add", "arguments":'
THINKS = script("<think>\nHm.\n</think>\n\nnever")


def run(
    *answers: list[int], schemas: bool = True, tokenizer: Tokenizer = NANO, **settings: Any
) -> tuple[Generation, list[str], list[str | None]]:
    """Answer; return the generation, what each request's prompt adds to the first, its schema."""
    session = ScriptedSession(*answers, json_schema=schemas)
    generation, _ = answer(session, tokenizer=tokenizer, **settings)
    first = generation.prompt_tokens
    added = [NANO.decode_raw(r.prompt_ids[first:]) for r in session.requests]
    return generation, added, [r.json_schema for r in session.requests]


class TestSchema:
    def test_without_thinking_it_holds_from_the_start(self) -> None:
        generation, added, schemas = run(script('{"a": 1}'), thinking=False, json_schema=SCHEMA)
        assert (generation.text, generation.finish_reason) == ('{"a": 1}', "stop")
        assert (added, schemas) == ([""], [SCHEMA])

    def test_it_holds_after_the_thinking_and_not_in_it(self) -> None:
        generation, added, schemas = run(THINKS, script("{}"), json_schema=SCHEMA)
        assert (generation.thinking, generation.text) == ("Hm.", "{}")
        assert added == ["", "<think>\nHm.\n</think>\n\n"]
        assert schemas == [None, SCHEMA]
        assert generation.timing.resumed == {len(generation.tokens) - len(script("{}"))}

    def test_a_model_that_does_not_think_begins_anew_with_the_schema(self) -> None:
        generation, added, schemas = run(script("Sure"), script("{}"), json_schema=SCHEMA)
        assert generation.text == "{}"
        assert [t.id for t in generation.tokens] == script("{}")
        assert (added, schemas) == (["", ""], [None, SCHEMA])

    def test_a_model_that_stops_in_mid_thinking_is_made_to_answer(self) -> None:
        generation, added, _ = run(script("<think>\nHm."), script("{}"), json_schema=SCHEMA)
        assert generation.text == "{}"
        assert added[1].endswith(EARLY_STOP)

    def test_a_thinking_budget_goes_with_it(self) -> None:
        generation, added, schemas = run(
            thoughts(20), script("{}"), json_schema=SCHEMA, thinking_budget=3
        )
        assert generation.text == "{}"
        assert added[1] == f"<think>111{EARLY_STOP}"
        assert schemas == [None, SCHEMA]

    def test_a_budget_of_none_leaves_no_request_without_it(self, tmp_path: Path) -> None:
        tokenizer = always_thinking(tmp_path)
        _, added, schemas = run(
            script("{}"), tokenizer=tokenizer, json_schema=SCHEMA, thinking_budget=0
        )
        assert (added, schemas) == ([EARLY_STOP], [SCHEMA])

    def test_an_answer_cut_in_mid_thinking_has_no_content(self) -> None:
        generation, _, schemas = run(THINKS, json_schema=SCHEMA, max_new_tokens=2)
        assert (generation.text, generation.finish_reason) == ("", "length")
        assert schemas == [None]

    def test_without_a_token_left_after_the_thinking_it_is_cut(self) -> None:
        most = len(NANO.encode("<think>\nHm.\n</think>"))
        generation, _, schemas = run(THINKS, json_schema=SCHEMA, max_new_tokens=most)
        assert (generation.text, generation.finish_reason) == ("", "length")
        assert schemas == [None]

    @pytest.mark.parametrize("schema", ["{", "[]", "1", "[" * 100_000], ids=lambda s: s[:3])
    def test_it_must_be_an_object(self, schema: str) -> None:
        with pytest.raises(InputError, match="not an object in JSON"):
            run(script("{}"), json_schema=schema)

    def test_a_session_that_follows_none_refuses_it_before_any_work(self) -> None:
        with pytest.raises(InputError, match="JSON schema"):
            run(script("{}"), schemas=False, json_schema=SCHEMA)

    def test_it_leaves_no_room_for_tools(self) -> None:
        with pytest.raises(InputError, match="cannot call tools"):
            run(script("{}"), json_schema=SCHEMA, tools=TOOLS)
        run(script("{}"), json_schema=SCHEMA, tools=TOOLS, tool_choice="none")


class TestNamedFunction:
    @pytest.mark.parametrize("choice", [NAMED, {"function": {"name": "add"}}], ids=str)
    def test_its_call_is_begun_and_its_arguments_keep_to_its_schema(self, choice: Any) -> None:
        generation, added, schemas = run(
            script(' {"a": 1, "b": 2}'), thinking=False, tools=TOOLS, tool_choice=choice
        )
        [only] = generation.tool_calls
        assert (only.name, json.loads(only.arguments)) == ("add", SUM)
        assert (generation.text, generation.finish_reason) == ("", "tool_calls")
        assert added == [BEGUN]
        assert [json.loads(s or "") for s in schemas] == [ADD["function"]["parameters"]]

    def test_it_is_called_after_the_thinking(self) -> None:
        generation, added, _ = run(
            THINKS, script(' {"a": 1, "b": 2}'), tools=TOOLS, tool_choice=NAMED
        )
        assert generation.thinking == "Hm."
        assert [c.name for c in generation.tool_calls] == ["add"]
        assert added[1] == f"<think>\nHm.\n</think>\n\n{BEGUN}"

    def test_without_schemas_the_model_ends_the_call(self) -> None:
        rest = call().removeprefix(BEGUN)
        generation, added, schemas = run(
            script(f"{rest}\n{call('say', text='more')}"), schemas=False, thinking=False,
            tools=TOOLS, tool_choice=NAMED,
        )  # fmt: skip
        assert [(c.name, json.loads(c.arguments)) for c in generation.tool_calls] == [("add", SUM)]
        assert generation.finish_reason == "tool_calls"
        assert (added, schemas) == ([BEGUN], [None])

    def test_arguments_that_are_cut_are_not_whole(self) -> None:
        generation, _, _ = run(
            script(' {"a": 1, "b": 2}'), thinking=False, tools=TOOLS, tool_choice=NAMED,
            max_new_tokens=4,
        )  # fmt: skip
        assert generation.finish_reason == "length"
        with pytest.raises(json.JSONDecodeError):
            json.loads(generation.tool_calls[0].arguments)

    def test_qwen3_coders_syntax_has_a_beginning_too(self, tmp_path: Path) -> None:
        rest = "<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
        generation, added, schemas = run(
            script(rest), tokenizer=coder(tmp_path), tools=TOOLS, tool_choice=NAMED
        )
        assert [json.loads(c.arguments) for c in generation.tool_calls] == [{"a": 1}]
        assert (added, schemas) == (["<tool_call>\n<function=add>\n"], [None])


class TestRequired:
    def test_one_of_the_functions_is_called(self) -> None:
        body = json.dumps({"name": "add", "arguments": SUM})
        generation, added, schemas = run(
            script(body), thinking=False, tools=TOOLS, tool_choice="required"
        )
        assert [(c.name, json.loads(c.arguments)) for c in generation.tool_calls] == [("add", SUM)]
        assert added == ["<tool_call>\n"]
        names = [o["properties"]["name"]["const"] for o in json.loads(schemas[0] or "")["anyOf"]]
        assert names == ["add", "say"]

    def test_definitions_move_to_the_root_where_references_begin(self) -> None:
        tools = [
            {"function": {"name": n, "parameters": {"$defs": {n: {"type": "null"}}, "p": n}}}
            for n in "fg"
        ]
        _, _, [schema] = run(
            script("{}"), thinking=False, tools=tuple(tools), tool_choice="required"
        )
        read = json.loads(schema or "")
        assert read["$defs"] == {"f": {"type": "null"}, "g": {"type": "null"}}
        assert [o["properties"]["arguments"] for o in read["anyOf"]] == [{"p": "f"}, {"p": "g"}]

    def test_without_schemas_a_call_is_begun(self) -> None:
        rest = call().removeprefix('<tool_call>\n{"name":')
        generation, added, _ = run(
            script(f"{rest}\n{call()}"), schemas=False, thinking=False, tools=TOOLS,
            tool_choice="required",
        )  # fmt: skip
        assert [c.name for c in generation.tool_calls] == ["add", "add"]
        assert added == ['<tool_call>\n{"name":']

    def test_the_only_function_is_named(self) -> None:
        _, added, _ = run(script("{}"), thinking=False, tools=(ADD,), tool_choice="required")
        assert added == [BEGUN]


class TestOffer:
    @pytest.mark.parametrize(
        ("tools", "choice", "message"),
        [
            ((), "required", "there are no tools"),
            (TOOLS, "any", "the tool choice is 'any'"),
            (TOOLS, {"type": "function", "function": {"name": "ad"}}, "which is none of the tools"),
            (TOOLS, {"type": "allowed_tools"}, "names no function"),
            ((ADD, ADD), "auto", "two functions 'add'"),
            (({"type": "web_search"},), "auto", "has the type 'web_search'"),
            (("add",), "auto", "is not an object"),
            (({"type": "function"},), "auto", "names no function"),
            (({"function": {"name": "f", "parameters": [1]}},), "auto", "not an object"),
        ],
        ids=str,
    )
    def test_what_cannot_be_offered_is_refused(self, tools: Any, choice: Any, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            run(script("4"), tools=tools, tool_choice=choice)
        assert caught.value.fix

    def test_tools_are_refused_where_the_template_takes_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="takes no tools"):
            run(script("4"), tokenizer=always_thinking(tmp_path), tools=TOOLS)

    def test_the_template_lists_what_is_offered(self) -> None:
        session = ScriptedSession(script("4"))
        generation, _ = answer(session, tools=TOOLS)
        prompt = NANO.decode(session.requests[0].prompt_ids)
        assert json.dumps(ADD) in prompt
        assert generation.prompt_tokens == len(session.requests[0].prompt_ids)
        answer(session, tools=TOOLS, tool_choice="none")
        assert "tool" not in NANO.decode(session.requests[1].prompt_ids)
