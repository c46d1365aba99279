"""Chat templates, stop tokens, and text from a stream of tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.errors import CheckpointError, PromptError, QdeployError
from qdeploy.tokenization.detokenizer import Detokenizer
from qdeploy.tokenization.tokenizer import Tokenizer

NANO = Tokenizer(models.path("qwen3-nano"))
FoldersWith = Callable[..., Tokenizer]


@pytest.fixture
def tokenizer_with(tmp_path: Path) -> FoldersWith:
    """Copy the embedded tokenizer, with another template, or changed configs."""

    def make(
        template: str | None = None,
        config: dict[str, Any] | None = None,
        generation: dict[str, Any] | None = None,
    ) -> Tokenizer:
        shutil.copytree(NANO.folder, tmp_path, dirs_exist_ok=True)
        for name, changes in (
            ("tokenizer_config.json", config),
            ("generation_config.json", generation),
        ):
            content = json.loads((tmp_path / name).read_text(encoding="utf-8"))
            (tmp_path / name).write_text(json.dumps(content | (changes or {})))
        if template is not None:
            (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
        return Tokenizer(tmp_path)

    return make


USER = [{"role": "user", "content": "What is 2 + 2?"}]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "你好"},
    {"role": "assistant", "content": "<think>\nA greeting.\n</think>\n\nHello 🙂"},
    {"role": "user", "content": "Again"},
]
ONE_TURN = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
TURNS = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n你好<|im_end|>\n"
    "<|im_start|>assistant\nHello 🙂<|im_end|>\n<|im_start|>user\nAgain<|im_end|>\n"
    "<|im_start|>assistant\n"
)
NO_THINKING = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("messages", "thinking", "expected"),
    [
        (USER, None, ONE_TURN),
        (USER, True, ONE_TURN),
        (USER, False, ONE_TURN + NO_THINKING),
        (CHAT, None, TURNS),
        (CHAT, False, TURNS + NO_THINKING),
    ],
)
def test_chats_are_rendered_as_transformers_renders_them(
    messages: Sequence[dict[str, str]], thinking: bool | None, expected: str
) -> None:
    """The strings are those of `apply_chat_template` of transformers 5.5.4."""
    assert NANO.render(messages, thinking=thinking) == expected


def test_the_tags_of_the_template_are_single_tokens() -> None:
    for tag in ("<think>", "</think>", "<|im_start|>", "<|im_end|>"):
        assert NANO.encode(tag) == [NANO.id_of(tag)]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ messages.append(1) }}",
        "{{ (messages | attr('__class__')).__base__ }}",
    ],
)
def test_a_template_cannot_reach_out_of_its_sandbox(
    template: str, tokenizer_with: FoldersWith
) -> None:
    with pytest.raises(PromptError, match=r"the chat template failed \(.*unsafe"):
        tokenizer_with(template).render(USER)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('system turns only') }}", "system turns only"),
        ("{% for message in %}", "Expected an expression"),
        ("{{ messages[0].nothing.at_all }}", "has no attribute 'nothing'"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ range(10**9) | list }}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_a_template_that_fails_is_told_with_its_reason(
    template: str, says: str, tokenizer_with: FoldersWith
) -> None:
    with pytest.raises(PromptError, match=says) as caught:
        tokenizer_with(template).render(USER)
    assert caught.value.where is not None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}\n  {% if true %}\nx\n  {% endif %}\n{% endfor %}", "x\n"),
        ("{{ {'z': '汉', 'a': 1} | tojson }}", '{"z": "汉", "a": 1}'),
        ("{% for i in range(9) %}{{ i }}{% if i == 1 %}{% break %}{% endif %}{% endfor %}", "01"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{{ '<b>' }}{{ tools is none }}{{ add_generation_prompt }}", "<b>TrueTrue"),
    ],
    ids="blocks tojson loopcontrols strftime escaping".split(),
)
def test_templates_find_what_transformers_gives_them(
    template: str, expected: str, tokenizer_with: FoldersWith
) -> None:
    assert tokenizer_with(template).render(USER) == expected


REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% if messages | length > 2 %}{{ raise_exception('Too long') }}{% endif %}"
)


def test_a_chat_that_a_template_does_not_take_is_told_with_a_fix_that_works(
    tokenizer_with: FoldersWith,
) -> None:
    tokenizer = tokenizer_with(REFUSES_SYSTEM)
    with pytest.raises(PromptError, match="does not take this chat: No system role") as caught:
        tokenizer.render(CHAT[:2])
    assert "--system" in str(caught.value.fix)
    tokenizer.render(CHAT[1:2])
    with pytest.raises(PromptError, match="No system role") as caught:
        tokenizer.render(CHAT)
    assert caught.value.fix is None


def test_a_template_file_comes_before_the_one_in_the_config(tokenizer_with: FoldersWith) -> None:
    assert tokenizer_with("from the file").render(USER) == "from the file"


def test_a_model_without_a_template_is_no_chat_model(tokenizer_with: FoldersWith) -> None:
    with pytest.raises(CheckpointError, match="no chat template") as caught:
        tokenizer_with(config={"chat_template": None}).render(USER)
    assert "chat_template.jinja" in (caught.value.fix or "")


def test_the_thinking_switch_is_seen_in_the_template(tokenizer_with: FoldersWith) -> None:
    assert NANO.has_thinking_switch
    assert not tokenizer_with("{{ messages[0].content }}").has_thinking_switch


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_a_file_that_does_not_hold_is_named(name: str, tokenizer_with: FoldersWith) -> None:
    tokenizer = tokenizer_with("{{ messages }}")
    (tokenizer.folder / name).write_bytes(b"\xff\xfe{")
    with pytest.raises(CheckpointError) as caught:
        tokenizer.encode(tokenizer.render(USER))
    assert caught.value.where == str(tokenizer.folder / name)


@pytest.mark.parametrize("ids", ["2024", ["a"], 1.5, {"id": 1}], ids=repr)
def test_stop_tokens_that_are_no_numbers_are_refused(
    ids: object, tokenizer_with: FoldersWith
) -> None:
    with pytest.raises(QdeployError, match="eos_token_id"):
        tokenizer_with(generation={"eos_token_id": ids}).stop_ids  # noqa: B018


def pieces(ids: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(NANO)
    return [*map(detokenizer.push, ids), detokenizer.flush()]


mixed = st.text(st.characters(codec="utf-8") | st.sampled_from("汉字测试🚀🎉👩‍👩‍👧éñ \n"))


@given(mixed)
@example("naïve 汉字 🚀👩‍👩‍👧\ufffd")
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(NANO.encode(text))) == NANO.decode(NANO.encode(text))


@given(st.lists(st.integers(0, NANO.vocab_size + 10)))
def test_pieces_join_to_the_decoding_of_any_tokens(ids: list[int]) -> None:
    """Models make byte sequences that are no characters, and tokens that no tokenizer knows."""
    assert "".join(pieces(ids)) == NANO.decode(ids)


@given(st.text(st.sampled_from("汉字测试🚀🎉👩‍👩‍👧é a"), min_size=1))
def test_no_piece_ends_within_a_character(text: str) -> None:
    assert not [piece for piece in pieces(NANO.encode(text)) if "\ufffd" in piece]


def test_a_piece_comes_with_the_token_that_completes_it() -> None:
    ids = NANO.encode("🚀")
    assert len(ids) > 1
    assert pieces(ids) == [*[""] * (len(ids) - 1), "🚀", ""]


def test_an_unfinished_character_is_flushed_as_the_replacement() -> None:
    assert pieces(NANO.encode("🚀")[:-1])[-1] == "\ufffd"


def test_after_a_flush_a_new_text_begins() -> None:
    detokenizer = Detokenizer(NANO)
    rocket = NANO.encode("🚀")
    for token in rocket[:2]:
        detokenizer.push(token)
    detokenizer.flush()
    assert [detokenizer.push(token) for token in rocket][-1] == "🚀"
