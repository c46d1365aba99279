"""Messages as in OpenAI's API, and what of a chat reaches its template."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import InputError, PromptError
from qdeploy.generation.generate import Generation
from qdeploy.generation.settings import Settings
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import NANO, QUESTION, script
from tests.support.scripted import ScriptedSession
from tests.support.tools import SUM, call


def prompt(messages: Any, tokenizer: Tokenizer = NANO, **settings: Any) -> str:
    """Return the prompt that a chat becomes."""
    session = ScriptedSession(script("4"))
    for _ in Generation(session, tokenizer, messages, Settings(**settings)):
        pass
    ids = session.requests[0].prompt_ids
    text: str = tokenizer._inner.decode(list(ids), skip_special_tokens=False)
    return text


def with_template(folder: Path, source: str) -> Tokenizer:
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    return Tokenizer(folder)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


class TestContent:
    def test_parts_of_text_are_joined(self) -> None:
        parts = [{"type": "text", "text": "2 +"}, {"type": "input_text", "text": "2?"}]
        assert prompt([user(parts)]) == prompt([user("2 +\n2?")])

    @pytest.mark.parametrize(
        ("message", "says"),
        [
            (user([{"type": "image_url", "image_url": {"url": "x"}}]), r"the type 'image_url'"),
            (user([{"type": "text"}]), r"content\[0\]: has no text"),
            (user(["a"]), "of the type str"),
            (user({"a": 1}), "a content that is of the type dict"),
            (user("\ud800"), "lone surrogates"),
            ({"content": "a"}, "the role None"),
            ({"role": "judge", "content": "a"}, "the role 'judge'"),
            ("hi", r"messages\[1\]: is of the type str"),
            ({"role": "assistant", "tool_calls": "x"}, "tool_calls that are of the type str"),
            ({"role": "assistant", "tool_calls": [{}]}, r"tool_calls\[0\]: is not a call"),
        ],
        ids=str,
    )
    def test_what_no_template_takes_is_refused_by_its_place(self, message: Any, says: str) -> None:
        with pytest.raises(PromptError, match=says) as caught:
            prompt([user("a"), message])
        assert (caught.value.where or "").startswith("messages[1]")
        assert caught.value.fix

    def test_a_chat_has_messages(self) -> None:
        with pytest.raises(PromptError, match="no messages"):
            prompt([])


class TestRoles:
    def test_a_developer_is_the_system_where_the_template_knows_none(self, tmp_path: Path) -> None:
        chat = [{"role": "developer", "content": "Be brief."}, *QUESTION]
        assert prompt(chat) == prompt([{**chat[0], "role": "system"}, *QUESTION])
        knows = with_template(tmp_path, "{{ messages[0].role == 'developer' }}")
        assert prompt(chat, knows) == "True"

    def test_a_role_that_the_template_names_is_taken(self, tmp_path: Path) -> None:
        knows = with_template(tmp_path, "{{ messages[0].role == 'judge' }}")
        assert prompt([{"role": "judge", "content": ""}], knows) == "True"


class TestToolCalls:
    @pytest.mark.parametrize("content", [None, "", []], ids=str)
    @pytest.mark.parametrize("arguments", ['{"a":1, "b":2}', SUM], ids=str)
    def test_they_are_rendered_as_the_model_wrote_them(self, content: Any, arguments: Any) -> None:
        asked = {"id": "call_1", "function": {"name": "add", "arguments": arguments}}
        turn = {"role": "assistant", "content": content, "tool_calls": [asked]}
        result = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
        text = prompt([*QUESTION, turn, result])
        assert f"<|im_start|>assistant\n{call()}<|im_end|>" in text
        assert "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>" in text

    def test_arguments_with_a_mistake_stay_as_they_were(self) -> None:
        asked = {"function": {"name": "add", "arguments": '{"a": '}}
        turn = {"role": "assistant", "content": "", "tool_calls": [asked]}
        text = prompt([*QUESTION, turn, user("Go on")])
        assert '{"name": "add", "arguments": {"a": }' in text

    def test_a_list_without_calls_is_no_call(self) -> None:
        turn = {"role": "assistant", "content": "4", "tool_calls": []}
        assert prompt([*QUESTION, turn, user("So?")]) == prompt(
            [*QUESTION, {"role": "assistant", "content": "4"}, user("So?")]
        )

    @pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
    def test_the_thinking_before_a_call_is_kept(self, key: str) -> None:
        asked = {"function": {"name": "add", "arguments": "{}"}}
        turn = {"role": "assistant", "content": "", key: "Hm.", "tool_calls": [asked]}
        result = {"role": "tool", "content": "3"}
        assert "<think>\nHm.\n</think>" in prompt([*QUESTION, turn, result])


class TestTemplateVariables:
    def test_they_reach_the_template(self, tmp_path: Path) -> None:
        tokenizer = with_template(tmp_path, "{{ mood }} {{ documents | length }}")
        given = {"mood": "merry", "documents": [1, 2]}
        assert prompt(QUESTION, tokenizer, template_kwargs=given) == "merry 2"

    @pytest.mark.parametrize("thinking", [True, False])
    def test_enable_thinking_is_the_switch(self, thinking: bool) -> None:
        given = {"enable_thinking": thinking}
        expected = prompt(QUESTION, thinking=thinking)
        assert prompt(QUESTION, template_kwargs=given) == expected
        assert prompt(QUESTION, template_kwargs=given, thinking=thinking) == expected

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"enable_thinking": True}, "thinking is False, and enable_thinking is True"),
            ({"enable_thinking": "yes"}, "enable_thinking is 'yes'"),
            ({"messages": []}, "'messages' is not for templates"),
            ({"tools": []}, "'tools' is not for templates"),
        ],
        ids=str,
    )
    def test_what_contradicts_is_refused(self, given: dict[str, Any], says: str) -> None:
        with pytest.raises(InputError, match=says):
            prompt(QUESTION, template_kwargs=given, thinking=False)


class TestContinuing:
    def test_the_last_message_stays_open(self) -> None:
        turn = {"role": "assistant", "content": "The sum is "}
        text = prompt([*QUESTION, turn], continue_final_message=True)
        assert text.endswith("The sum is ")
        assert text.count("<|im_start|>assistant") == 1

    def test_a_template_that_strips_texts_strips_its_end(self, tmp_path: Path) -> None:
        tokenizer = with_template(
            tmp_path, "{% for m in messages %}{{ m.content | trim }}\n{% endfor %}"
        )
        turn = {"role": "assistant", "content": " The sum is "}
        assert prompt([*QUESTION, turn], tokenizer, continue_final_message=True) == (
            "2 + 2?\nThe sum is"
        )

    def test_a_message_that_the_template_leaves_out_is_not_continued(self, tmp_path: Path) -> None:
        tokenizer = with_template(tmp_path, "{{ messages[0].content }}")
        turn = {"role": "assistant", "content": "The sum"}
        with pytest.raises(PromptError, match="leaves out the last message"):
            prompt([*QUESTION, turn], tokenizer, continue_final_message=True)

    def test_no_turn_need_be_begun(self) -> None:
        assert not prompt(QUESTION, add_generation_prompt=False).endswith("assistant\n")
